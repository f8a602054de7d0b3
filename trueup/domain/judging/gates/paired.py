"""The paired gate: compare challenger and champion on the same rows.

All rows that matured after the champion's training count: see `trueup.domain.judging.evidence`. The burden of proof depends on
what is known beforehand. A *routine* retrain is the same recipe on newer data, which is seldom worse: its mean gain has to
be at least `min_gain`, and above zero with the one-sided `confidence`. A *change* of family, features, config or code can
be much worse: the upper bound of its difference has to be within the margin, too. Repeated attempts raise the bar: the
k-th attempt against a champion has the error of the first divided by the square root of k, while the evidence grows.

docs/gates-evidence.md has the measurements behind the defaults. The bar is low, since rejecting a better model costs its
users, and promoting an equal one only changes the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from trueup.config.section import Share
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, LOSS, Case
from trueup.domain.judging.gates.doubt import doubt_words
from trueup.domain.judging.gates.gate import BETTER, Gate
from trueup.domain.judging.gates.phrases import compare, figures_of, too_few_blocks
from trueup.domain.judging.metrics import figure, shortfall
from trueup.domain.types import Figures, Status, Verdict

_SPENDING = 0.5  # power of the number of attempts with which the error shrinks


class Paired(Gate):
    """Better than the champion by a minimum and beyond noise; a change must also stay within a margin of harm."""

    HEADING = BETTER
    METRICS = {
        Task.BINARY: ("loss", "brier", "auc"),
        Task.MULTICLASS: ("loss", "brier", "accuracy", "auc_ovr"),
        Task.REGRESSION: ("loss", "mae"),
    }

    kind: Literal["paired"] = "paired"
    metric: Literal["loss", "brier", "auc", "accuracy", "auc_ovr", "mae"] = Field(
        "loss",
        description="The compared metric. `loss`: log-loss, or squared error of a regression, on all rows that count (see `promote.folds`). Others are compared on the gate window only: binary also `brier`, `auc`; multiclass `brier`, `accuracy`, `auc_ovr`; regression `mae`. `auc`, `auc_ovr` and `accuracy` are compared as 1 minus the metric, so that lower is better.",
    )
    min_gain: Share = Field(
        0.001, description="The challenger's mean loss must be lower by this share of the champion's."
    )
    confidence: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="One-sided confidence of any gain, for the first attempt against a champion; 0.5: the mean alone decides. The k-th attempt has the error of the first divided by the square root of k.",
    )
    margin: Share = Field(
        0.05,
        description="After a change of family, features, `train`, label or code: the upper bound of the difference (`evaluate.confidence`) must be below this share of the champion's loss.",
    )

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses, or the metric of the config; inconclusive if neither a gain nor its absence is shown."""
        if not case.has_champion:
            return self.passed(case.without_champion)
        metric = self.metric
        try:
            difference = case.weigh(CHALLENGER, CHAMPION) if metric == LOSS else case.difference(CHAMPION, metric)
            champion = (
                case.evidence.mean(CHAMPION) if metric == LOSS else shortfall(metric, case.value(CHAMPION, metric))
            )
        except ValueError as none:
            return self.inconclusive(f"there is no {metric}: {none}")
        bar = Bar.of(self, case, champion)
        figures = {**figures_of(case, CHAMPION, difference, metric), **bar.figures(case)}
        sentence = compare(case, CHAMPION, difference, metric)
        if case.doubted:
            return self.passed(f"{doubt_words(case)}; {sentence}", **figures)
        if not difference.enough:
            return self.inconclusive(too_few_blocks(difference), sentence, **figures)
        status, why = bar.judge(difference)
        return Verdict(self.check, status, (f"{sentence}{why}",), figures)

    @classmethod
    def rule(cls, figures: Figures) -> str:
        f, better = figures, "lower" if shortfall(figures["loss"], 0.0) == 0 else "higher"
        required = (
            f"Passes when it is {better} by at least {figure(f['min_gain'], 3)}, and {better} at all with "
            f"{1 - f['level']:.3g} confidence (attempt {f['attempt']} against this champion)."
        )
        if f["margin"] is not None:
            required += f" After a change it must not be worse by {figure(f['margin'], 3)}, with the whole interval."
        if f["low"] is not None and f["high"] is not None and f["low"] <= 0 <= f["high"]:
            required += " The interval includes 0, so a gain is likely, but not shown."
        return required


@dataclass(frozen=True)
class Bar:
    """The bar for a mean difference, in units of the loss; below 0 the challenger is better."""

    min_gain: float
    margin: float | None  # None for a routine retrain, which needs no bound
    error: float  # one-sided, of this attempt

    @classmethod
    def of(cls, gate: Paired, case: Case, champion: float) -> Bar:
        """Make the bar for a case; `champion` is the champion's mean loss."""
        margin = gate.margin * champion if case.burden == "change" else None
        return cls(gate.min_gain * champion, margin, (1 - gate.confidence) / case.attempt**_SPENDING)

    def judge(self, difference: Interval) -> tuple[Status, str]:
        """Pass if the bar is met, fail if it is shown to be out of reach; the reasons name what is missing."""
        if difference.mean == 0 or difference.lower((1 - difference.confidence) / 2) > -self.min_gain:
            word = "not better" if difference.mean > 0 else "equal in practice"
            return Status.FAIL, f": {word}, for a gain of {figure(self.min_gain, 3)} is out of reach"
        if difference.mean > -self.min_gain:
            return Status.INCONCLUSIVE, f": a gain of {figure(self.min_gain, 3)} is needed"
        if (upper := difference.lower(1 - self.error)) >= 0:
            return (
                Status.INCONCLUSIVE,
                f": better with less than {1 - self.error:.3g} confidence (bound {figure(upper, 3)})",
            )
        if self.margin is not None and difference.high >= self.margin:
            return (
                Status.INCONCLUSIVE,
                f": after a change the bound {figure(difference.high, 3)} has to be below the margin {figure(self.margin, 3)}",
            )
        return Status.PASS, ""

    def figures(self, case: Case) -> Figures:
        return {
            "min_gain": self.min_gain,
            "margin": self.margin,
            "level": self.error,
            "burden": case.burden,
            "attempt": case.attempt,
            "earlier_attempts": list(case.evidence.attempts),
            "from": case.evidence.start.isoformat(),
            "until": case.evidence.end.isoformat(),
        }
