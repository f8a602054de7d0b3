"""The baseline gate: the challenger better than no model, and than a simple one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trueup.config import schema
from trueup.domain.gates.case import Case
from trueup.domain.gates.words import compare, figures_of, too_few_blocks
from trueup.domain.types import Verdict


@dataclass(frozen=True)
class Baseline:
    """Better than a prior beyond noise, and than a simple model in the mean.

    Skill over the prior must be proved. A simple model may be nearly as good as the truth allows: it only has to be
    beaten on the gate rows.
    """

    config: schema.BaselineGate

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses; inconclusive with fewer than `MIN_BLOCKS` blocks or without a baseline's predictions."""
        if not self.config.beat:
            return Verdict.inconclusive("baseline", "nothing is named to beat; set `beat` to prior, simple or both")
        if absent := [role for role in self.config.beat if role not in case.predictions]:
            return Verdict.inconclusive(
                "baseline", f"there are no predictions of the {' and the '.join(absent)} to compare with"
            )
        figures: dict[str, Any] = {}
        said, failed = [], []
        for role in self.config.beat:
            difference = case.difference(role)
            figures[role] = figures_of(case, role, difference)
            said.append(compare(case, role, difference))
            if not difference.enough:
                return Verdict.inconclusive("baseline", too_few_blocks(difference), *said, **figures)
            if difference.mean >= 0:
                failed.append(said[-1])
            elif role == "prior" and difference.high >= 0:
                failed.append(f"{said[-1]}: not significantly better")
        if failed:
            return Verdict.failed("baseline", *failed, **figures)
        return Verdict.passed("baseline", *said, **figures)
