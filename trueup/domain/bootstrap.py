"""How sure a mean is: a bootstrap by blocks of time.

Rows of the same day share weather, holidays and mistakes, so they say less than their number suggests. Whole blocks of
time are resampled, never single rows; and when neighbouring blocks resemble each other, runs of several blocks are.

Method. Circular moving blocks (Politis & Romano 1992) of the statistic's block sums, so the cost does not depend on the
number of rows. The run length is the automatic one of Politis & White (2004) for an AR(1) process, from the lag-one
autocorrelation of the blocks' deviations, without a test for significance before it: over 14 days such a test sees
nothing. Bounds are the statistic plus and minus Student's t times the bootstrap's standard error, with as many degrees of
freedom as there are independent runs less one, and the standard error scaled up by sqrt(n / (n - 1)): percentile
bounds of few blocks are too narrow by both (Hesterberg 2015, "What teachers should know about the bootstrap").

What the intervals are worth, in simulations of daily mean differences (rows a day 300 to 1,500, 2,000 samples each, 1,500 in the last line;
`tests/unit/test_bootstrap.py` repeats a part of them). A 95 % interval should miss the truth 5 % of the time:

    autocorrelation of days       0     .2     .4     .6
    14 days                    4.8 %  7.2 % 11.2 % 15.9 %
    28 days                    3.6 %  6.5 %  9.2 % 11.9 %
    56 days                    5.0 %  7.3 %  8.8 % 10.4 %
    14 days, plain percentiles 9.9 % 15.5 % 26.2 % 38.1 %

So they hold for independent days, and are too narrow when days resemble each other: 14 values do not show much of an
autocorrelation. With strongly skewed daily differences (exponential) 14 independent days miss 8.7 %. And they speak of
weeks like these, not of the next season.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from trueup.config import checks

Floats = NDArray[np.float64]

MIN_BLOCKS = checks.MIN_BLOCKS
MAX_BLOCKS = 250  # more add no precision but cost time and memory: neighbours are merged
_MIN_RUNS = 3  # runs never grow so long that fewer than this many fit


@dataclass(frozen=True)
class Interval:
    """A statistic with its standard error and two-sided bounds; infinite bounds where a single block gives none.

    `blocks` counts the blocks of time that hold rows, `block_length` how many neighbouring ones were drawn together.
    """

    mean: float
    low: float
    high: float
    confidence: float
    blocks: int
    block_length: int
    error: float

    @property
    def enough(self) -> bool:
        """Whether there are blocks enough to trust the bounds."""
        return self.blocks >= MIN_BLOCKS

    def lower(self, alpha: float) -> float:
        """One-sided lower bound that the truth lies below with probability `alpha`."""
        return _bound(self.mean, self.error, self.blocks / self.block_length, alpha)

    def p_above(self, threshold: float) -> float:
        """One-sided p-value against "the truth is at most `threshold`"; small means that it is above."""
        if self.error == 0:
            return float(self.mean <= threshold)
        if not np.isfinite(self.error):
            return 1.0
        return float(special.stdtr(self.blocks / self.block_length - 1, (threshold - self.mean) / self.error))


@dataclass(frozen=True, eq=False)
class Blocks:
    """The block of time of each row: `codes` (n,) number the `count` blocks that hold rows in order of time."""

    codes: NDArray[np.intp]
    count: int

    @classmethod
    def of(cls, event_time: ArrayLike, block: timedelta) -> Blocks:
        """Cut time into blocks counted from 1970, so that blocks of a day are calendar days.

        `event_time` (n,) is datetime64 without zone. Raises ValueError when there are no rows.
        """
        moments = np.asarray(event_time, dtype="datetime64[us]").astype(np.int64)
        if not len(moments):
            raise ValueError("no rows: nothing to resample")
        numbers = moments // (block // timedelta(microseconds=1))
        codes, found = pd.factorize(numbers, sort=True)
        merged = -(-len(found) // MAX_BLOCKS)
        return cls(codes // merged, -(-len(found) // merged))

    def sums(self, values: ArrayLike | None = None) -> Floats:
        """Sum the values (n,) of each block, or count its rows: (count,)."""
        weights = None if values is None else np.asarray(values, dtype=np.float64)
        return np.bincount(self.codes, weights, minlength=self.count).astype(np.float64)


def run_length(deviations: Floats) -> int:
    """Choose how many neighbouring blocks to draw together, from each block's deviation (blocks,) from the mean.

    Politis & White (2004), section 3.2, for the circular bootstrap with an AR(1) process in place of the flat-top
    estimates: (sqrt(6) r / (1 - r^2))^(2/3) blocks^(1/3). 1 when neighbours are not positively correlated.
    """
    blocks, spread = len(deviations), float(deviations @ deviations)
    longest = blocks // _MIN_RUNS
    if longest < 2 or spread == 0:
        return 1
    r = min(float(deviations[1:] @ deviations[:-1]) / spread, 0.95)
    if r <= 0:
        return 1
    length = (np.sqrt(6) * r / (1 - r**2)) ** (2 / 3) * blocks ** (1 / 3)
    return int(np.clip(np.ceil(length), 1, longest))


def multiplicities(blocks: int, length: int, resamples: int, seed: int) -> Floats:
    """How often each block occurs in each resample: (resamples, blocks), each row summing to `blocks`.

    A resample's sum of anything is `multiplicities @ block_sums`.
    """
    starts = np.random.default_rng(seed).integers(0, blocks, (resamples, -(-blocks // length), 1))
    drawn = ((starts + np.arange(length)) % blocks).reshape(resamples, -1)[:, :blocks]
    cells = drawn + blocks * np.arange(resamples)[:, None]
    return np.bincount(cells.ravel(), minlength=resamples * blocks).reshape(resamples, blocks).astype(np.float64)


def bootstrap_means(sums: Floats, weights: Floats, resamples: int, seed: int) -> tuple[Floats, int]:
    """Resample the weighted mean `sums.sum() / weights.sum()` of block sums (blocks,): its draws, and the run length.

    Draws in which all weight is missing are left out.
    """
    length = run_length(sums - weights * (sums.sum() / weights.sum()))
    drawn = multiplicities(len(sums), length, resamples, seed) @ np.column_stack([sums, weights])
    kept = drawn[drawn[:, 1] > 0]
    return kept[:, 0] / kept[:, 1], length


def interval_from(value: float, draws: Floats, blocks: int, length: int, confidence: float) -> Interval:
    """Bounds of any statistic from its bootstrap draws (resamples,) over runs of `length` of `blocks` blocks."""
    runs = blocks / length
    error = float(np.std(draws)) * np.sqrt(runs / (runs - 1)) if blocks > 1 and len(draws) > 1 else np.inf
    alpha = (1 - confidence) / 2
    low, high = _bound(value, error, runs, alpha), _bound(value, error, runs, 1 - alpha)
    return Interval(value, low, high, confidence, blocks, length, float(error))


def sums_interval(sums: Floats, weights: Floats, resamples: int, confidence: float, seed: int) -> Interval:
    """Bound a weighted mean given as block sums (blocks,) of its numerator and its weight; blocks without weight are left out."""
    held = weights > 0
    if not held.any():
        raise ValueError("no rows: nothing to resample")
    sums, weights = sums[held], weights[held]
    draws, length = bootstrap_means(sums, weights, resamples, seed)
    return interval_from(float(sums.sum() / weights.sum()), draws, len(sums), length, confidence)


def paired_interval(
    values: ArrayLike,
    event_time: ArrayLike,
    block: timedelta,
    resamples: int = 2_000,
    confidence: float = 0.95,
    seed: int = 0,
    *,
    over: ArrayLike | None = None,
) -> Interval:
    """Bound the mean of `values` (n,), such as one model's row losses less another's, over blocks of time.

    `event_time` (n,) is datetime64 without zone, in any order. With `over` (n,) the statistic is the ratio
    sum(values) / sum(over), such as a share of another loss. Raises ValueError when there are no rows.
    """
    blocks = Blocks.of(event_time, block)
    return sums_interval(blocks.sums(values), blocks.sums(over), resamples, confidence, seed)


def _bound(value: float, error: float, runs: float, alpha: float) -> float:
    """Give the alpha-quantile of Student's t around the value, with runs - 1 degrees of freedom."""
    if error == 0:
        return value
    if not np.isfinite(error):
        return float(np.copysign(np.inf, alpha - 0.5))
    return float(value + error * special.stdtrit(runs - 1, alpha))
