"""The rule by which an estimate alarms: the expected loss has grown beyond noise and a practical minimum.

What is judged is a ratio: the expected loss as a share of a base on the same rows, so that hours and seasons that are
hard for any model do not count. The limit is the gate's ratio plus the larger of the practical minimum and what a batch
differs without any change: the spread between the gate's blocks of time, for gate and batch together, at a level that
one in twenty streams passes in twelve batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import scipy
from numpy.typing import ArrayLike

from trueup.domain.judging.bootstrap import Blocks, Interval, sums_interval

FALSE_ALARMS = 0.05 / 12  # per batch: one stream in twenty, in twelve batches


@dataclass(frozen=True)
class Alarm:
    """A batch's ratio of expected loss to base, the gate's, and the `limit` beyond which it is `worse`."""

    ratio: float
    gate: float
    limit: float

    @property
    def worse(self) -> bool:
        """Whether the batch is beyond the limit."""
        return self.ratio > self.limit


@dataclass(frozen=True)
class Limit:
    """The gate's ratio with its interval over blocks of time that hold `rows_a_block` rows."""

    gate: Interval
    rows_a_block: float
    block: timedelta
    min_change: float

    def judge(self, loss: ArrayLike, base: ArrayLike, event_time: ArrayLike) -> Alarm:
        """Judge a batch by each row's expected loss (n,) and base (n,). Raises ValueError without rows."""
        ratio, blocks, rows = _ratio(loss, base, event_time, self.block, self.gate.confidence)
        runs = max(blocks / self.gate.block_length, 1.0)
        spread = self.gate.error * np.sqrt(self.gate.runs / runs * max(1.0, self.rows_a_block / rows))
        own = ratio.error if ratio.enough else 0.0
        t = float(scipy.special.stdtrit(self.gate.runs - 1, 1 - FALSE_ALARMS))
        noise = t * float(np.hypot(self.gate.error, max(spread, own)))
        return Alarm(ratio.mean, self.gate.mean, self.gate.mean + max(self.min_change, noise))


def limit_of(
    loss: ArrayLike, base: ArrayLike, event_time: ArrayLike, block: timedelta, confidence: float, min_change: float
) -> Limit:
    """The limit from the gate's rows: each row's expected loss (n,) and base (n,).

    Raises ValueError if the rows span too few blocks of time for an interval.
    """
    ratio, _, rows = _ratio(loss, base, event_time, block, confidence)
    if not ratio.enough:
        raise ValueError(f"the gate's rows span {ratio.blocks} blocks of time, too few to tell change from noise")
    return Limit(ratio, rows, block, min_change)


def _ratio(
    loss: ArrayLike, base: ArrayLike, event_time: ArrayLike, block: timedelta, confidence: float
) -> tuple[Interval, int, float]:
    """The ratio, the number of blocks, and the rows in one."""
    blocks = Blocks.of(event_time, block)
    interval = sums_interval(blocks.sums(loss), blocks.sums(base), confidence)
    return interval, interval.blocks, len(blocks.codes) / blocks.count
