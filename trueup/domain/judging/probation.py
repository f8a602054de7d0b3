"""Probation: tests in a few looks whether a new champion loses to the replaced one on the same rows.

Each look tests "the new champion's mean loss is at most the old one's" one-sided, on all rows of the probation with
known labels, with the paired block bootstrap of the gates. The error is split over the looks (Bonferroni), so that an
equally good champion is taken back with a probability of at most `alpha`, as far as the intervals are accurate (see
`bootstrap`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
from numpy.typing import ArrayLike

from trueup.domain.judging.bootstrap import MIN_BLOCKS, paired_interval
from trueup.domain.types import Status, Verdict

NAME = "probation"


@dataclass(frozen=True)
class ProbationLook:
    """One look at a champion on probation, as monitoring records it."""

    epoch: int
    version: int
    against: int  # the version that it replaced
    counts: bool  # whether the batch is one of the probation's
    look: int  # its number among the conclusive looks
    of: int
    verdict: Status
    reasons: tuple[str, ...]
    figures: dict[str, int | float]


def look(
    losses: tuple[ArrayLike, ArrayLike],
    event_time: ArrayLike,
    block: timedelta,
    *,
    alpha: float,
    looks: int,
) -> Verdict:
    """Compare the row losses (n,) of the new champion and the old one. A fail is a significant loss.

    >>> import numpy as np, pandas as pd
    >>> days = np.repeat(pd.date_range("2024-01-01", periods=20).to_numpy(), 50)
    >>> rng = np.random.default_rng(0)
    >>> old = rng.random(1000)
    >>> look((old + 0.1, old), days, timedelta(days=1), alpha=0.05, looks=2).status.value
    'fail'
    >>> look((old + rng.normal(0, 0.1, 1000), old), days, timedelta(days=1), alpha=0.05, looks=2).status.value
    'pass'
    """
    new, old = (np.asarray(values, dtype=np.float64) for values in losses)
    if not len(new):
        return Verdict.inconclusive(NAME, "no row of the probation has a label yet")
    if not (np.isfinite(new).all() and np.isfinite(old).all()):
        return Verdict.inconclusive(NAME, "a loss is not finite")
    level = alpha / looks
    bounds = paired_interval(new - old, event_time, block, 1 - 2 * level)
    figures = {
        "rows": len(new),
        "new_loss": float(new.mean()),
        "old_loss": float(old.mean()),
        "difference": bounds.mean,
        "low": bounds.low,
        "high": bounds.high,
        "level": level,
        "blocks": bounds.blocks,
    }
    if not bounds.enough:
        return Verdict.inconclusive(NAME, f"{bounds.blocks} blocks of time, {MIN_BLOCKS} are needed", **figures)
    p = bounds.p_above(0.0)
    sentence = f"mean loss {new.mean():.4f} against the old champion's {old.mean():.4f} on {len(new):,} rows (p {p:.2g}, limit {level:.2g})"
    if p <= level:
        return Verdict.failed(NAME, f"significantly worse than the old champion: {sentence}", p=p, **figures)
    return Verdict.passed(NAME, f"not significantly worse than the old champion: {sentence}", p=p, **figures)
