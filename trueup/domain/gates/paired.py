"""The paired gate: the challenger better than the champion on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.config import schema
from trueup.domain.gates.case import CHAMPION, LOSS, Case
from trueup.domain.gates.words import compare, figures_of, too_few_blocks
from trueup.domain.metrics import figure, shortfall
from trueup.domain.types import Verdict


@dataclass(frozen=True)
class Paired:
    """Not worse than the champion beyond a margin, and better by a minimum, on the same rows."""

    config: schema.PairedGate

    def judge(self, case: Case) -> Verdict:
        """Compare mean losses, or the metric asked for; inconclusive with fewer than `MIN_BLOCKS` blocks."""
        if not case.has_champion:
            return Verdict.passed("paired", case.without_champion)
        metric = self.config.metric
        try:
            difference, champion = case.difference(CHAMPION, metric), shortfall(metric, case.value(CHAMPION, metric))
        except ValueError as none:
            return Verdict.inconclusive("paired", f"there is no {metric}: {none}")
        margin, gain = self.config.margin * champion, self.config.min_gain * champion
        figures = {**figures_of(case, CHAMPION, difference, metric), "margin": margin, "min_gain": gain}
        said = compare(case, CHAMPION, difference, metric)
        if not difference.enough:
            return Verdict.inconclusive("paired", too_few_blocks(difference), said, **figures)
        if difference.mean > 0:
            return Verdict.failed("paired", said, **figures)
        if difference.mean > -gain or difference.mean == 0:
            return Verdict.failed(
                "paired", f"equal in practice: {said}; a gain of {figure(gain, 3)} is asked for", **figures
            )
        if difference.high >= margin:
            return Verdict.failed(
                "paired",
                f"{said}: the worse bound is not within the margin {figure(margin, 3)}"
                if metric != LOSS
                else f"{said}: the bound {figure(difference.high, 3)} is not below the margin {figure(margin, 3)}",
                **figures,
            )
        if self.config.significant and difference.high >= 0:
            return Verdict.failed("paired", f"{said}: not significantly better", **figures)
        return Verdict.passed("paired", said, **figures)
