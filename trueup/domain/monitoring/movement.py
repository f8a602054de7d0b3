"""How far two samples of a column differ without drift: by chance, and by the column's own movement.

All distances are on the scale of PSI, which for small ones is Pearson's chi-square over the number of rows; eight times
the squared Jensen-Shannon distance (natural logarithm) agrees with it there (Lin 1991).

*Chance*: both samples are drawn from the reference's shares (parametric bootstrap), so that a small batch raises no
alarm because it is small.

*Movement*: the reference is cut into blocks as long as a batch, and each is compared with all others. The excess of
their mean distance over that of random blocks of the same sizes is the column's movement from block to block. A batch
is a further block: its distance is compared with a quantile of an F distribution, because the movement was estimated
from few blocks in few directions (Satterthwaite). Consecutive blocks that look alike count as fewer.

*Continuation*: a column with blocks that resemble the ones before keeps moving after the reference, farther for a later
batch. The part of the movement that consecutive blocks share grows with the squared gap in time between the batch and
the blocks, relative to that between the blocks: this holds for a trend, and for a season over less than a quarter of
it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

Method = Literal["psi", "jensenshannon"]
Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

FEWEST = 3  # blocks needed to estimate a movement, and to compare a batch with it
_NO_ROWS = 1e-4  # the share of an empty cell in PSI, as in Evidently
_PRIOR_ROWS = 5.0  # rows of the reference's shares added to each block: small blocks often have empty cells
_DRAWS = 2_000
_SEED = 0


@dataclass(frozen=True)
class Movement:
    """How a column moves from block to block: `size` is the expected distance of a block from the common centre.

    `dimensions` is the number of independent directions, `blocks` the number of independent blocks behind the estimate.
    `alike` (0 to 0.95) is how similar a block is to the one before it, `farther` how many times the distance among the
    blocks the batch may have because of continuation.
    """

    size: float = 0.0
    dimensions: float = 1.0
    blocks: float = np.inf
    alike: float = 0.0
    farther: float = 1.0

    @property
    def measurable(self) -> bool:
        """Whether there are enough blocks for a limit."""
        return not self.size or self.blocks >= FEWEST

    def limit(self, level: float) -> float:
        """The distance that a further block exceeds with probability 1 - level; infinite if unknown."""
        if not self.size:
            return 0.0
        if not self.measurable:
            return np.inf
        further = 1 + 1 / self.blocks  # the centre is an estimate, too
        denominator = self.dimensions * (self.blocks - 1)
        return float(self.size * self.farther * further * scipy.stats.f.ppf(level, self.dimensions, denominator))


STILL = Movement()


def chance(method: Method, shares: Floats, n: int, m: int, level: float) -> float:
    """The distance that samples of `n` and `m` rows exceed with probability 1 - level if both have these `shares` (k,)."""
    return _chance(method, tuple(np.round(shares, 3)), n, m, level)


def movement(
    method: Method, codes: Ints, blocks: Ints, cells: int, independent: float = np.inf, at: int | None = None
) -> Movement:
    """Measure how a column moves from its cells (n,), 0 to `cells` - 1, and the number (n,) of each row's block.

    `independent` is the largest number of independent blocks, if known; `at` is the batch's number as a block, if
    numbers count time.
    """
    counts, numbers = _table(codes, blocks, cells)
    moves = _measured(method, counts.tobytes(), counts.shape, independent)
    return moves if at is None or not moves.alike else replace(moves, farther=_farther(numbers, at, moves.alike))


def _farther(numbers: Ints, at: int, alike: float) -> float:
    """The ratio of the squared gaps to the batch and between blocks, as far as blocks are alike."""
    between = 2 * float(np.var(numbers)) * len(numbers) / (len(numbers) - 1)
    return 1 + alike * max(float(np.square(numbers - at).mean()) / between - 1, 0.0)


@lru_cache(maxsize=2_048)  # every batch is compared with the same rows
def _measured(method: Method, table: bytes, shape: tuple[int, ...], independent: float) -> Movement:
    counts = np.frombuffer(table).reshape(shape)
    if len(counts) < FEWEST or counts.shape[1] < 2:
        return STILL if independent == np.inf else Movement(np.inf, 1.0, 0.0)
    rows, total = counts.sum(axis=1), counts.sum(axis=0)
    shares = total / total.sum()
    rng, draws = np.random.default_rng(_SEED), max(20, 2 * _DRAWS // len(counts))
    random = _from_others(method, rng.multinomial(rows.astype(int), shares, (draws, len(rows))).astype(float), shares)
    by_chance = random.mean(axis=1)
    measured = float(_from_others(method, counts, shares).mean())
    if measured <= by_chance.mean() + 1.645 * by_chance.std():  # one-sided 5 %
        return STILL
    dimensions, alike = _shape(counts, shares)
    independent = min(independent, len(counts) * (1 - alike) / (1 + alike))
    if independent < FEWEST:
        return Movement(np.inf, dimensions, independent, alike)
    others = ((len(counts) - 1) / len(counts)) ** 2
    size = (measured - float(by_chance.mean())) * others / (1 - 1 / independent)
    return Movement(size, dimensions, independent, alike)


def distance(method: Method, a: Floats, b: Floats) -> Floats:
    """Distances (...,) of shares (..., k), on the scale of PSI."""
    if method == "psi":
        a, b = np.where(a > 0, a, _NO_ROWS), np.where(b > 0, b, _NO_ROWS)
        return np.asarray(((a - b) * np.log(a / b)).sum(axis=-1))
    middle = (a + b) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = [np.where(side > 0, side * np.log(side / middle), 0.0).sum(axis=-1) for side in (a, b)]
    return np.asarray(4 * (parts[0] + parts[1]))


@lru_cache(maxsize=4_096)
def _chance(method: Method, shares: tuple[float, ...], n: int, m: int, level: float) -> float:
    rng, p = np.random.default_rng(_SEED), np.array(shares) / np.sum(shares)
    a, b = rng.multinomial(n, p, _DRAWS) / n, rng.multinomial(m, p, _DRAWS) / m
    return float(np.quantile(distance(method, a, b), level))


def _table(codes: Ints, blocks: Ints, cells: int) -> tuple[Floats, Ints]:
    """Rows by block (without those with too few) and cell (without empty ones), and the blocks' numbers."""
    named, numbers = np.unique(blocks, return_inverse=True)
    count = len(named)
    counts = np.bincount(numbers * cells + codes, minlength=count * cells).reshape(count, cells).astype(np.float64)
    rows = counts.sum(axis=1)
    enough = rows >= max(5.0, float(np.median(rows)) / 4 if count else 0.0)
    counts = counts[enough]
    return np.ascontiguousarray(counts[:, counts.sum(axis=0) > 0]), named[enough]


def _from_others(method: Method, counts: Floats, shares: Floats) -> Floats:
    """Distance of each block from all others, counts (..., blocks, k)."""
    others = counts.sum(axis=-2, keepdims=True) - counts
    others = others / np.maximum(others.sum(axis=-1, keepdims=True), 1.0)
    rows = np.maximum(counts.sum(axis=-1, keepdims=True), 1.0)
    if method != "psi":
        return distance(method, counts / rows, others)
    smooth = (counts + _PRIOR_ROWS * shares) / (rows + _PRIOR_ROWS)
    return np.asarray(distance(method, smooth, others) * ((rows + _PRIOR_ROWS) / rows)[..., 0] ** 2)


def _shape(counts: Floats, shares: Floats) -> tuple[float, float]:
    """The number of directions in which the blocks move, and how similar a block is to the one before it (0 to 0.95)."""
    rows, n = counts.sum(axis=1), len(counts)
    moved = (counts / rows[:, None] - shares) / np.sqrt(shares)
    root = np.sqrt(shares)
    noise = (np.eye(len(shares)) - np.outer(root, root)) * float((1 / rows).mean())
    directions = np.linalg.eigvalsh(moved.T @ moved / (n - 1) - noise).clip(min=0)
    dimensions = float(directions.sum() ** 2 / np.square(directions).sum()) if directions.any() else 1.0
    variance = float(np.square(moved).sum() / n - np.trace(noise))
    if variance <= 0:
        return dimensions, 0.0
    following = float((moved[1:] * moved[:-1]).sum() / (n - 1)) / variance
    return dimensions, float(np.clip(following + 1 / n, 0.0, 0.95))
