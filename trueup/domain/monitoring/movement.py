"""How far two samples of a column lie apart without drift: by chance, and because the column moves by itself.

All distances are on the scale of PSI, which for small ones is Pearson's chi-square over the number of rows; eight times
the squared Jensen-Shannon distance (natural logarithm) agrees with it there (Lin 1991).

*Chance*: both samples are drawn from the reference's shares (parametric bootstrap), so that a small batch raises no alarm
for being small.

*Movement*: the reference is cut into blocks as long as a batch, and each is compared with all others. What their mean
distance exceeds that of random blocks of the same sizes by is how far the column moves from block to block. A batch is a
further block: its distance is held against a quantile of an F distribution, for the movement was estimated from few
blocks in few directions (Satterthwaite). Blocks that follow each other and look alike count as fewer.

*Going on*: a column whose blocks look like the ones before them goes on moving after the reference, and the later the batch
the farther. As much of the movement as following blocks share grows with the squared gap in time between the batch and the
blocks, against that between the blocks: so does a trend, and so does a season over less than a quarter of it.
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

FEWEST = 3  # blocks from which a movement can be told, and from which there is one to hold a batch against
_NO_ROWS = 1e-4  # the share that an empty cell counts as in PSI, as in Evidently
_PRIOR_ROWS = 5.0  # of the reference's shares, added to each block: an empty cell of a small block is no surprise
_DRAWS = 2_000
_SEED = 0


@dataclass(frozen=True)
class Movement:
    """How a column moves from block to block: `size` is the expected distance of a block from where all lie.

    `dimensions` is in how many independent directions, `blocks` how many independent blocks that was learned from. `alike`
    (0 to 0.95) says how much a block is like the one before it, `farther` how many times as far as among the blocks the batch is
    for having gone on.
    """

    size: float = 0.0
    dimensions: float = 1.0
    blocks: float = np.inf
    alike: float = 0.0
    farther: float = 1.0

    @property
    def known(self) -> bool:
        """Whether the blocks say how far a further one may lie from them."""
        return not self.size or self.blocks >= FEWEST

    def limit(self, level: float) -> float:
        """The distance that a further block exceeds with probability 1 - level; infinite where that is not known."""
        if not self.size:
            return 0.0
        if not self.known:
            return np.inf
        further = 1 + 1 / self.blocks  # where all blocks lie is an estimate, too
        denominator = self.dimensions * (self.blocks - 1)
        return float(self.size * self.farther * further * scipy.stats.f.ppf(level, self.dimensions, denominator))


STILL = Movement()


def chance(method: Method, shares: Floats, n: int, m: int, level: float) -> float:
    """The distance that samples of `n` and `m` rows exceed with probability 1 - level when both have these `shares` (k,)."""
    return _chance(method, tuple(np.round(shares, 3)), n, m, level)


def movement(
    method: Method, codes: Ints, blocks: Ints, cells: int, independent: float = np.inf, at: int | None = None
) -> Movement:
    """Measure how a column moves from its cells (n,), 0 to `cells` - 1, and the number (n,) of each row's block.

    `independent` is how many blocks at most are independent of each other, where that is known beforehand; `at` the number
    that the batch would have as a block, where numbers count time.
    """
    counts, numbers = _table(codes, blocks, cells)
    found = _measured(method, counts.tobytes(), counts.shape, independent)
    return found if at is None or not found.alike else replace(found, farther=_farther(numbers, at, found.alike))


def _farther(numbers: Ints, at: int, alike: float) -> float:
    """How many times the squared gaps between blocks those to the batch are, as far as blocks are alike."""
    between = 2 * float(np.var(numbers)) * len(numbers) / (len(numbers) - 1)
    return 1 + alike * max(float(np.square(numbers - at).mean()) / between - 1, 0.0)


@lru_cache(maxsize=2_048)  # batch after batch is held against the same rows
def _measured(method: Method, table: bytes, shape: tuple[int, ...], independent: float) -> Movement:
    counts = np.frombuffer(table).reshape(shape)
    if len(counts) < FEWEST or counts.shape[1] < 2:
        return STILL if independent == np.inf else Movement(np.inf, 1.0, 0.0)
    rows, total = counts.sum(axis=1), counts.sum(axis=0)
    shares = total / total.sum()
    rng, draws = np.random.default_rng(_SEED), max(20, 2 * _DRAWS // len(counts))
    random = _from_others(method, rng.multinomial(rows.astype(int), shares, (draws, len(rows))).astype(float), shares)
    by_chance = random.mean(axis=1)
    found = float(_from_others(method, counts, shares).mean())
    if found <= by_chance.mean() + 1.645 * by_chance.std():  # one-sided 5 %
        return STILL
    dimensions, alike = _shape(counts, shares)
    independent = min(independent, len(counts) * (1 - alike) / (1 + alike))
    if independent < FEWEST:
        return Movement(np.inf, dimensions, independent, alike)
    others = ((len(counts) - 1) / len(counts)) ** 2
    size = (found - float(by_chance.mean())) * others / (1 - 1 / independent)
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
    """Rows by block (those with too few left out) and cell (those without any left out), and the blocks' numbers."""
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
    """In how many directions the blocks move, and how much a block is like the one before it (0 to 0.95)."""
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
