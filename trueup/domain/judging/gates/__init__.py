"""Decide whether a challenger may become the champion. Each gate judges the same rows and gives a verdict with reasons.

A gate is a class with `judge(case) -> Verdict`. `GATES` lists the gates by the kind that the configuration names. The
integrity checks run before any gate, and no configuration can leave them out: verdicts on broken data would mislead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from trueup.config.sections.gates import BaselineGate, GateConfig
from trueup.domain.data.types import Verdict
from trueup.domain.judging.gates.absolute import Absolute
from trueup.domain.judging.gates.baseline import Baseline
from trueup.domain.judging.gates.behaviour import Behaviour
from trueup.domain.judging.gates.budget import Budget
from trueup.domain.judging.gates.calibration import Calibration
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, NO_CHAMPION, Case
from trueup.domain.judging.gates.fairness import Fairness
from trueup.domain.judging.gates.integrity import all_finite, enough_rows, no_overlap, not_identical
from trueup.domain.judging.gates.paired import Paired
from trueup.domain.judging.gates.slices import Slices

__all__ = ["CHALLENGER", "CHAMPION", "GATES", "NO_CHAMPION", "Case", "Gate", "judge"]


class Gate(Protocol):
    """A judgement of a case."""

    def judge(self, case: Case) -> Verdict:
        """Pass, fail or inconclusive, with reasons."""


def judge(gates: Sequence[GateConfig], case: Case) -> list[Verdict]:
    """Judge a case: the integrity checks, then, if all of these pass, each configured gate in order.

    The first integrity check that does not pass is the last verdict of the list. Without a champion to compare with, the
    baseline gate runs even where none is configured: some other gates pass then, and a model must be compared with
    something before it serves. `types.overall` sums a list up.
    """
    verdicts = []
    for check in (no_overlap, enough_rows, all_finite, not_identical):
        verdicts.append(check(case))
        if not verdicts[-1].ok:
            return verdicts
    if not case.has_champion and not any(isinstance(config, BaselineGate) for config in gates):
        gates = [*gates, BaselineGate(kind="baseline")]
    return verdicts + [GATES[config.kind](config).judge(case) for config in gates]


GATES: dict[str, Callable[[Any], Gate]] = {
    "paired": Paired,
    "baseline": Baseline,
    "absolute": Absolute,
    "slices": Slices,
    "fairness": Fairness,
    "calibration": Calibration,
    "behaviour": Behaviour,
    "budget": Budget,
}
