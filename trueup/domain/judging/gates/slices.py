"""The slices gate: compare challenger and champion in each declared part of the rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import Field

from trueup.config.section import Share
from trueup.domain.judging.bootstrap import MIN_BLOCKS, Interval
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.gates.gate import FAIR, Gate
from trueup.domain.judging.metrics import by_slice, figure, loss_words
from trueup.domain.types import Figures, Verdict

_LISTED = 50  # slices too small to tell that are named in the figures


class Slices(Gate):
    """No slice is harmed."""

    HEADING = FAIR

    kind: Literal["slices"] = "slices"
    margin: Share = Field(
        0.02,
        description="A slice fails if the Holm-adjusted lower bound of its loss difference is above this share of the champion's loss there.",
    )
    required: list[str] = Field(default=[], description="`column=value` slices that must be large enough to judge.")

    def judge(self, case: Case) -> Verdict:
        """Test every slice for harm at a family-wise level (Holm 1979), and list those too small to judge."""
        if not case.has_champion:
            return self.passed(case.without_champion)
        if case.slices.columns.empty:
            return self.passed("no slices are declared")
        tested, small = slice_tests(case, self.margin)
        unjudged = [name for name in self.required if name not in {t.slice for t in tested}]
        figures = {"slices": [asdict(t) for t in tested], "too_small": small[:_LISTED], "too_small_count": len(small)}
        harmed = [t for t in tested if t.harmed]
        if harmed:
            return self.failed(*[_harm(case, t) for t in harmed], **figures)
        if unjudged:
            return self.inconclusive(f"too small to tell, but required: {', '.join(unjudged)}", **figures)
        reasons = [f"no harm in {len(tested)} slices"]
        if small:
            more = f" and {len(small) - 5} more" if len(small) > 5 else ""
            reasons.append(f"too small to tell: {', '.join(small[:5])}{more}")
        return self.passed(*reasons, **figures)

    @classmethod
    def rule(cls, figures: Figures) -> str:
        del figures
        return (
            "Passes when for no slice it is shown, taking account of how many there are, that it loses more than the champion "
            "beyond the margin."
        )


@dataclass(frozen=True)
class SliceTest:
    """The test of a slice for harm; `lower` is the bound of Holm's procedure over all slices together."""

    slice: str
    rows: int
    difference: float
    lower: float
    margin: float
    harmed: bool


def slice_tests(case: Case, margin: float) -> tuple[list[SliceTest], list[str]]:
    """Test each slice of a case against harm beyond `margin`, a share of the champion's loss in the slice.

    Returns the tests of those that are large enough, and the names (`column=value`) of the others.
    """
    tests, small = [], []
    difference = case.losses[CHALLENGER] - case.losses[CHAMPION]
    for name, rows, (sums, base) in by_slice(case.slices, case.blocks, difference, case.losses[CHAMPION]):
        size = int(rows.sum())
        if size < case.evaluate.min_slice_rows or (rows > 0).sum() < MIN_BLOCKS:
            small.append(name)
            continue
        allowed = margin * float(base.sum()) / size
        tests.append((name, size, allowed, case.interval(sums, rows)))
    return _holm(tests, 1 - case.evaluate.confidence), sorted(small)


def _holm(tests: list[tuple[str, int, float, Interval]], alpha: float) -> list[SliceTest]:
    """Step down from the smallest p-value; the first slice that is not significant ends the procedure."""
    records: list[SliceTest] = []
    proved = True
    for left, (name, rows, allowed, difference) in zip(
        range(len(tests), 0, -1), sorted(tests, key=lambda t: t[3].p_above(t[2])), strict=True
    ):
        lower = difference.lower(alpha / left)
        proved = proved and lower > allowed
        records.append(SliceTest(name, rows, difference.mean, lower, allowed, proved))
    return records


def _harm(case: Case, test: SliceTest) -> str:
    word = loss_words(case.task)
    return (
        f"{test.slice}: {word} {figure(test.difference, 3)} above the champion's on {test.rows:,} rows; "
        f"the adjusted bound {figure(test.lower, 3)} is above the margin {figure(test.margin, 3)}"
    )
