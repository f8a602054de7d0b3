"""The paired gate: compare challenger and champion on the same rows.

All rows that matured after the champion's training count: see `trueup.domain.judging.evidence`. The burden of proof depends on
what is known beforehand. A *routine* retrain is the same recipe on newer data, which is seldom worse: its mean gain has to
be at least `min_gain`, and above zero with the one-sided `confidence`. A *change* of family, features, config or code can
be much worse: the upper bound of its difference has to be within the margin, too. Repeated attempts raise the bar: the
k-th attempt against a champion has the error of the first divided by the square root of k, while the evidence grows.

docs/gates-evidence.md has the measurements behind the defaults. The bar is low, since refusing a better model costs its
users, and promoting an equal one only changes the version.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from trueup.config.sections.gates import PairedGate
from trueup.domain.data.types import Status, Verdict
from trueup.domain.judging.bootstrap import Interval
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, LOSS, Case
from trueup.domain.judging.gates.doubt import doubt_words
from trueup.domain.judging.gates.phrases import compare, figures_of, too_few_blocks
from trueup.domain.judging.metrics import figure, shortfall

_SPENDING = 0.5  # by which power of the number of attempts the error shrinks


@dataclass(frozen=True)
class Paired:
    """Require a minimum gain on the champion, with some confidence; after a change, also a bound on the harm."""

    config: PairedGate

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
    """The bar for a mean difference, in units of the loss; below 0 the challenger is better."""

    min_gain: float
    margin: float | None  # None for a routine retrain, which needs no bound
    error: float  # one-sided, of this attempt

    @classmethod
    def of(cls, config: PairedGate, case: Case, champion: float) -> Bar:
        """Make the bar for a case; `champion` is the champion's mean loss."""
        margin = config.margin * champion if case.burden == "change" else None
        return cls(config.min_gain * champion, margin, (1 - config.confidence) / case.attempt**_SPENDING)

    def judge(self, difference: Interval) -> tuple[Status, str]:
        """Pass where the bar is met, fail where it is shown to be out of reach; say in words what is missing."""
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
