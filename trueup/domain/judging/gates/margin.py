"""Turn an interval and a margin into a verdict, for gates that bound a distance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from pydantic import Field

from trueup.domain.judging.bootstrap import Floats, Interval, interval_from, multiplicities, run_length
from trueup.domain.judging.gates.context import Case
from trueup.domain.judging.gates.gate import Gate
from trueup.domain.judging.metrics import figure
from trueup.domain.types import Status, Verdict


class MarginGate(Gate):
    """Base class of gates with a margin: fail if the interval is above the margin, pass if it is below."""

    margin: float = Field(
        ge=0, description="The gate fails if the lower bound is above it, and passes if the upper bound is below."
    )
    against: Literal["nothing", "champion"] = Field(
        "nothing",
        description="`nothing`: the figure itself is at most `margin`. `champion`: the figure exceeds the champion's by at most `margin`; a first champion passes.",
    )
    when_unclear: Literal["hold", "pass"] = Field(
        "hold",
        description="The result if the interval contains the margin, or if there are too few rows. `pass` blocks only a proved violation.",
    )

    def answer(self, outcome: Status, reasons: list[str], figures: Mapping[str, Any]) -> Verdict:
        """The verdict; an unclear result holds the decision, or passes if the configuration says so."""
        if outcome is Status.INCONCLUSIVE and self.when_unclear == "pass":
            return self.passed(*(f"unclear, and let pass: {reason}" for reason in reasons), **figures)
        return Verdict(self.check, outcome, tuple(reasons), dict(figures))


@dataclass(frozen=True, eq=False)
class Ratios:
    """Ratios of sums, such as rates of groups: numerators and denominators by block of time (ratios, blocks)."""

    numerators: Floats
    denominators: Floats

    @property
    def values(self) -> Floats:
        return np.asarray(self.numerators.sum(axis=1) / self.denominators.sum(axis=1))

    @property
    def deviations(self) -> Floats:
        """Each block's part in the deviation of each ratio: (ratios, blocks)."""
        rest = self.numerators - self.values[:, None] * self.denominators
        return np.asarray(rest / self.denominators.sum(axis=1)[:, None])

    def draws(self, drawn: Floats) -> Floats:
        """Each ratio in each resample, (resamples, ratios), NaN if it was not drawn."""
        below = drawn @ self.denominators.T
        return np.asarray(
            np.divide(drawn @ self.numerators.T, below, out=np.full(below.shape, np.nan), where=below > 0)
        )


def unusable(case: Case) -> str:
    """Why a judged model's predictions cannot be measured; empty if they can."""
    broken = [role for role in case.judged if not np.isfinite(case.predictions.get(role, np.nan)).all()]
    return f"predictions of the {' and the '.join(broken)} are missing or no numbers" if broken else ""


def bound(value: float, draws: Floats, blocks: int, length: int, confidence: float) -> Interval:
    """Bounds from the draws that exist."""
    return interval_from(value, draws[np.isfinite(draws)], blocks, length, confidence)


def resample(deviations: Floats, resamples: int, seed: int) -> tuple[Floats, int]:
    """Draw blocks for a statistic with these deviations by block (blocks,); returns multiplicities and the run length."""
    length = run_length(deviations)
    return multiplicities(len(deviations), length, resamples, seed), length


def status(lower: float, upper: float, margin: float) -> Status:
    """Fail if the bounds are above the margin, pass if they are below it; NaN is neither.

    >>> status(0.1, 0.3, 0.2)
    <Status.INCONCLUSIVE: 'inconclusive'>
    """
    if lower > margin:
        return Status.FAIL
    return Status.PASS if upper <= margin else Status.INCONCLUSIVE


def bounds_words(low: float, high: float, confidence: float) -> str:
    """Format the bounds of an interval."""
    return f"{100 * confidence:g} % {figure(low, 3)} to {figure(high, 3)}"
