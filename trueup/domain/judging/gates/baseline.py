"""The baseline gate: compare the challenger with a constant and with a simple model.

A first champion must beat the prior beyond noise, and a later one must not be shown worse than a baseline. Between a
challenger and a champion the paired gate decides. In weeks in which nothing can be predicted well, the prior does not stop
a challenger that gains on the champion, unless the challenger is shown to be worse than it. A simple model that does better
than the challenger takes its place (see `doubt.contender`), and is compared with the other baseline only.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.gates.context import CHALLENGER, PRIOR, Case
from trueup.domain.judging.gates.gate import BETTER, Gate
from trueup.domain.judging.gates.phrases import compare, figures_of, too_few_blocks
from trueup.domain.types import Figures, Status, Verdict

ERROR = 0.1  # one-sided, of a first champion that is no better than the prior


class Baseline(Gate):
    """Better than a prior and a simple model."""

    HEADING = BETTER

    kind: Literal["baseline"] = "baseline"
    beat: list[Literal["prior", "simple"]] = Field(
        default=["prior", "simple"],
        description="What the challenger must be better than: a constant, or a simple model.",
    )

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses; inconclusive with fewer than `MIN_BLOCKS` blocks or without a baseline's predictions."""
        if not self.beat:
            return self.inconclusive("nothing is named to beat; set `beat` to prior, simple or both")
        if absent := [role for role in self.beat if role not in case.predictions]:
            return self.inconclusive(f"there are no predictions of the {' and the '.join(absent)} to compare with")
        if case.doubted:
            return self.passed("the best of challenger, simple model and prior replaces such a champion")
        figures: Figures = {}
        passed, other = list[str](), list[tuple[Status, str]]()
        for role in self.beat:
            if role == case.contender:
                continue
            difference = case.weigh(CHALLENGER, role)
            figures[role] = figures_of(case, role, difference)
            sentence = compare(case, role, difference)
            if not difference.enough:
                return self.inconclusive(too_few_blocks(difference), sentence, **figures)
            status, why = _against(case, role, difference)
            (passed.append(sentence) if status is Status.PASS else other.append((status, f"{sentence}{why}")))
        if not other:
            return self.passed(*passed, **figures)
        failed = [sentence for status, sentence in other if status is Status.FAIL]
        status = Status.FAIL if failed else Status.INCONCLUSIVE
        return Verdict(self.check, status, tuple(failed or [sentence for _, sentence in other]), figures)

    @classmethod
    def rule(cls, figures: Figures) -> str:
        del figures
        return (
            "A first champion passes when its mean loss is below each of theirs, and below the prior's with 90 % confidence; "
            "a later one when it is not shown to be worse than either."
        )


def _against(case: Case, role: str, difference: Interval) -> tuple[Status, str]:
    """Compare a difference with the bar for a first champion, or with that for a later one."""
    if case.has_champion:
        return (Status.FAIL, "") if case.shown_worse(CHALLENGER, role) else (Status.PASS, "")
    if difference.mean >= 0:
        return Status.FAIL, ""
    if role == PRIOR and difference.lower(1 - ERROR) >= 0:
        return Status.INCONCLUSIVE, f": better with less than {1 - ERROR:.0%} confidence"
    return Status.PASS, ""
