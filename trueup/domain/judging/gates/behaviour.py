"""The behaviour gate: the challenger answers changed inputs as declared.

The evaluate stage changes the inputs and predicts them. This gate compares the share of violations with the share that
is allowed. The declaration is a contract about the gate rows, so the share itself decides; its interval informs about
other rows like these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from trueup.config.content import Location, items, keys, written
from trueup.config.section import Section, Share
from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Floats, paired_interval
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.gates.gate import BEHAVES, Gate
from trueup.domain.judging.metrics import figure
from trueup.domain.records import to_plain
from trueup.domain.types import Verdict


class InvarianceCheck(Section):
    """Changing a column must not move the prediction."""

    kind: Literal["invariance"] = Field(description="The kind of check.")
    column: str = Field(description="The landed column to change.")
    to: list[str | int | float | bool] = Field(
        default=[],
        description="Every row gets each of these values in turn; the largest change of the prediction counts.",
    )
    shift: float | None = Field(None, description="A number to add to the column.")
    shuffle: bool = Field(False, description="Shuffle the values among the rows, by `train.seed`.")
    at_most: float = Field(
        gt=0,
        description="A larger change of the prediction is a violation: in probability (multiclass: half the sum of all changes), or in the label's unit.",
    )
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")

    @model_validator(mode="after")
    def _one_change(self) -> InvarianceCheck:
        if [bool(self.to), self.shift is not None, self.shuffle].count(True) != 1:
            raise ValueError("set how the column is changed: exactly one of `to`, `shift` and `shuffle`")
        if self.shift == 0:
            raise ValueError("a shift of 0 changes nothing; give another number")
        return self


class DirectionCheck(Section):
    """Raising a number must not lower the prediction, or not raise it."""

    kind: Literal["direction"] = Field(description="The kind of check.")
    column: str = Field(description="The landed numeric column to raise.")
    raise_by: float = Field(gt=0, description="A number to add to the column.")
    never: Literal["lower", "higher"] = Field(description="The direction in which the prediction must not move.")
    tolerance: float = Field(0.0, ge=0, description="A move in that direction by at most this does not count.")
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")


BehaviourCheck = Annotated[InvarianceCheck | DirectionCheck, Field(discriminator="kind")]


@dataclass(frozen=True)
class Violations:
    """The violations of a check among the changed rows, if there are any."""

    check: BehaviourCheck
    rows: int
    violations: int = 0
    share: float = 0.0
    confidence: float = 0.0
    low: float | None = None
    high: float | None = None
    mean_move: float | None = None
    largest: float | None = None


def measured(
    check: BehaviourCheck, moves: Floats, changed: Floats, event_time: Any, evaluate: EvaluateConfig
) -> Violations:
    """Count the violations of a check.

    `moves` (n,) is the change of each row's prediction (the largest distance, for an invariance). `changed` (n,) is 1
    if the row's input changed; only those rows count. A prediction that is not a number is a violation.
    """
    counted = changed > 0
    if not counted.any():
        return Violations(check, 0)
    moves = moves[counted]
    size = -moves if isinstance(check, DirectionCheck) and check.never == "lower" else moves
    limit = check.tolerance if isinstance(check, DirectionCheck) else check.at_most
    violated = ~(size <= limit)
    times = np.asarray(event_time)[counted]
    share = paired_interval(violated, times, evaluate.block, evaluate.confidence)
    low, high = share.bounds
    mean, largest = float(moves.mean()), float(size.max()) + 0.0  # no -0
    return Violations(
        check,
        rows=int(counted.sum()),
        violations=int(violated.sum()),
        share=float(violated.mean()),
        confidence=share.confidence,
        low=None if low is None else max(low, 0.0),
        high=None if high is None else min(high, 1.0),
        mean_move=mean if np.isfinite(mean) else None,
        largest=largest if np.isfinite(largest) else None,
    )


class Behaviour(Gate):
    """The challenger answers changed inputs as declared, on the gate rows."""

    HEADING = BEHAVES
    SILENT = True

    kind: Literal["behaviour"] = "behaviour"
    checks: list[BehaviourCheck] = Field(
        min_length=1,
        description="The checks. History features stay as they were; all other features are computed again from the changed rows.",
    )

    @classmethod
    def named_columns(cls, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        yield from (((*at, "column"), written(check, "column")) for at, check in items(content, "checks"))

    @classmethod
    def problems(cls, content: Mapping[str, Any], task: Task, features: Any) -> Iterator[tuple[Location, str]]:
        yield from super().problems(content, task, features)
        for at, check in items(content, "checks"):
            if task is Task.MULTICLASS and written(check, "kind") == "direction":
                what = "the prediction of a multiclass task has no direction; use invariance, or remove it"
                yield (*at, "kind"), what
            if what := _could_not_fail(check, features):
                yield (*at, "column"), what

    def judge(self, case: Case) -> Verdict:
        """Name the violated checks; inconclusive if one was not made, or changed no row."""
        failed, unjudged, kept, figures = list[str](), list[str](), list[str](), []
        for check in self.checks:
            violations = next((f for f in case.behaviour if f.check == check), None)
            if violations is None or not violations.rows:
                why = "was not made" if violations is None else "changed no row"
                unjudged.append(f"{_name(check)}: {why}")
                continue
            figures.append(to_plain(violations))
            # NaN is not within a limit.
            (kept if violations.share <= check.share else failed).append(_words(check, violations))
        if failed:
            return self.failed(*failed, checks=figures)
        if unjudged:
            return self.inconclusive(*unjudged, checks=figures)
        return self.passed(*kept, checks=figures)


def _could_not_fail(check: Any, features: Any) -> str:
    """Why no feature depends on the changed column; empty if one does."""
    column, numeric = written(check, "column"), [name for _, name in items(features, "numeric")]
    if not isinstance(column, str) or written(features, "custom") is not None:
        return ""  # the inputs of a custom function are unknown
    others = [*(name for _, name in items(features, "categorical")), *keys(features, "calendar")]
    if column not in [*numeric, *others]:
        what = "no feature depends on it (history features stay as they were); name a column of features"
        return f"{column}: {what}.numeric, .categorical or .calendar"
    if column not in numeric and (written(check, "raise_by") or written(check, "shift")) is not None:
        return f"{column} is not in features.numeric, and only numbers can be raised or shifted"
    return ""


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


def _words(check: BehaviourCheck, violations: Violations) -> str:
    span = (
        ""
        if violations.low is None
        else f" ({100 * violations.confidence:g} % {violations.low:.1%} to {violations.high:.1%})"
    )
    largest = "a value that is no number" if violations.largest is None else figure(violations.largest, 3)
    where = "the wrong way" if isinstance(check, DirectionCheck) else "away"
    return (
        f"{_name(check)}: violated in {violations.violations:,} of {violations.rows:,} rows, {violations.share:.1%}{span}, "
        f"allowed are {check.share:.1%}; the largest move {where} is {largest}"
    )
