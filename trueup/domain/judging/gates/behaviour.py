"""The behaviour gate: the challenger answers changed inputs as declared.

The evaluate stage changes the inputs and predicts them. This gate compares the share of violations with the share that
is allowed. The declaration is a contract about the gate rows, so the share itself decides; its interval informs about
other rows like these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trueup.config.sections.gates import BehaviourCheck, BehaviourGate, DirectionCheck
from trueup.config.sections.training import EvaluateConfig
from trueup.domain.data.types import Verdict
from trueup.domain.judging.bootstrap import Floats, paired_interval
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.metrics import figure


def measured(
    check: BehaviourCheck, moves: Floats, changed: Floats, event_time: Any, evaluate: EvaluateConfig
) -> dict[str, Any]:
    """Count the violations of a check.

    `moves` (n,) is the change of each row's prediction (the largest distance, for an invariance). `changed` (n,) is 1
    where the row's input changed; only those rows count. A prediction that is not a number is a violation.
    """
    counted = changed > 0
    found = {"check": check.model_dump(mode="json"), "rows": int(counted.sum())}
    if not counted.any():
        return found
    moves = moves[counted]
    size = -moves if isinstance(check, DirectionCheck) and check.never == "lower" else moves
    limit = check.tolerance if isinstance(check, DirectionCheck) else check.at_most
    violated = ~(size <= limit)
    times = np.asarray(event_time)[counted]
    share = paired_interval(violated, times, evaluate.block, evaluate.confidence)
    known = share.enough and np.isfinite(share.error)
    figures = {"mean_move": float(moves.mean()), "largest": float(size.max()) + 0.0}  # no -0
    return (
        found
        | {"violations": int(violated.sum()), "share": float(violated.mean()), "confidence": share.confidence}
        | {"low": max(share.low, 0.0) if known else None, "high": min(share.high, 1.0) if known else None}
        | {name: value if np.isfinite(value) else None for name, value in figures.items()}
    )


@dataclass(frozen=True)
class Behaviour:
    """Require every declared check to hold for all but its share of the changed rows."""

    config: BehaviourGate

    def judge(self, case: Case) -> Verdict:
        """Name the checks that are violated; inconclusive where one was not made, or changed no row."""
        failed, untold, kept, figures = list[str](), list[str](), list[str](), list[dict[str, Any]]()
        for check in self.config.checks:
            plain = check.model_dump(mode="json")
            found = next((dict(f) for f in case.behaviour if f["check"] == plain), None)
            if found is None or not found["rows"]:
                why = "was not made" if found is None else "changed no row"
                untold.append(f"{_name(check)}: {why}")
                continue
            figures.append(found)
            # A share that is no number is not within its limit.
            (kept if found["share"] <= check.share else failed).append(_words(check, found))
        if failed:
            return Verdict.failed("behaviour", *failed, checks=figures)
        if untold:
            return Verdict.inconclusive("behaviour", *untold, checks=figures)
        return Verdict.passed("behaviour", *kept, checks=figures)


def _name(check: BehaviourCheck) -> str:
    column = check.column
    if isinstance(check, DirectionCheck):
        return f"raising {column} by {figure(check.raise_by)} must not make the prediction {check.never}"
    if check.shuffle:
        how = f"shuffling {column}"
    elif check.shift is not None:
        how = f"shifting {column} by {figure(check.shift)}"
    else:
        how = f"setting {column} to {', '.join(map(str, check.to))}"
    return f"{how} must not move the prediction by more than {figure(check.at_most)}"


def _words(check: BehaviourCheck, found: Mapping[str, Any]) -> str:
    span = (
        "" if found["low"] is None else f" ({100 * found['confidence']:g} % {found['low']:.1%} to {found['high']:.1%})"
    )
    largest = "a value that is no number" if found["largest"] is None else figure(found["largest"], 3)
    where = "the wrong way" if isinstance(check, DirectionCheck) else "away"
    return (
        f"{_name(check)}: violated in {found['violations']:,} of {found['rows']:,} rows, {found['share']:.1%}{span}, "
        f"allowed are {check.share:.1%}; the largest move {where} is {largest}"
    )
