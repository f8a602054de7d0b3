"""The paired gate: the challenger better than the champion on the same rows.

All rows count that matured after the champion's training: see `trueup.domain.evidence`. What has to be shown follows what
is known beforehand. A *routine* retrain is the same recipe on newer data, which is seldom worse: its mean gain has to be
at least `min_gain`, and above zero with the one-sided `confidence`. A *change* of family, features, config or code may be
anything: its worse bound has to be within the margin besides. The more often a champion was challenged, the surer its
challenger has to be: the k-th attempt has the error of the first divided by the square root of k, while evidence grows.

The default numbers are measured: see docs/gates-evidence.md. They are low, for to refuse what is better costs more than
to promote what is no better, which only changes the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trueup.config import schema
from trueup.domain.bootstrap import Interval
from trueup.domain.gates.case import CHALLENGER, CHAMPION, LOSS, Case
from trueup.domain.gates.doubt import doubt_words
from trueup.domain.gates.words import compare, figures_of, too_few_blocks
from trueup.domain.metrics import figure, shortfall
from trueup.domain.types import Status, Verdict

_SPENDING = 0.5  # by which power of the number of attempts the error shrinks


@dataclass(frozen=True)
class Paired:
    """Better than the champion by a minimum and beyond noise, and, after a change, within a margin for certain."""

    config: schema.PairedGate

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses, or the metric of the config; inconclusive where neither a gain nor its absence is shown."""
        if not case.has_champion:
            return Verdict.passed("paired", case.without_champion)
        metric = self.config.metric
        try:
            difference = case.weigh(CHALLENGER, CHAMPION) if metric == LOSS else case.difference(CHAMPION, metric)
            champion = (
                case.evidence.mean(CHAMPION) if metric == LOSS else shortfall(metric, case.value(CHAMPION, metric))
            )
        except ValueError as none:
            return Verdict.inconclusive("paired", f"there is no {metric}: {none}")
        bar = Bar.of(self.config, case, champion)
        figures = {**figures_of(case, CHAMPION, difference, metric), **bar.figures(case)}
        said = compare(case, CHAMPION, difference, metric)
        if case.doubted:
            return Verdict.passed("paired", f"{doubt_words(case)}; {said}", **figures)
        if not difference.enough:
            return Verdict.inconclusive("paired", too_few_blocks(difference), said, **figures)
        status, why = bar.judge(difference)
        return Verdict("paired", status, (f"{said}{why}",), figures)


@dataclass(frozen=True)
class Bar:
    """What a mean difference has to be, in units of the loss; below 0 the challenger is better."""

    min_gain: float
    margin: float | None  # None for a routine retrain, which needs no bound
    error: float  # one-sided, of this attempt

    @classmethod
    def of(cls, config: schema.PairedGate, case: Case, champion: float) -> Bar:
        """The bar for a case, whose champion loses so much."""
        margin = config.margin * champion if case.burden == "change" else None
        return cls(config.min_gain * champion, margin, (1 - config.confidence) / case.attempt**_SPENDING)

    def judge(self, difference: Interval) -> tuple[Status, str]:
        """Pass above the bar, fail where the bar is shown to be out of reach, and what is missing in words."""
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

    def figures(self, case: Case) -> dict[str, Any]:
        """Plain values, for the record."""
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
