"""Shapley values of any score, from scores of rows that mix the explained row with background rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom

Floats = NDArray[np.float64]
# The scores (m,) of mixed rows: where a mask (m, p) is true the explained row's value, else that of a background row,
# which is given by its place (m,).
Mixed = Callable[[NDArray[np.bool_], NDArray[np.intp]], Floats]

MOST_EXACT: Final = 10  # columns whose subsets are all tried: 1,024
_AT_ONCE: Final = 20_000  # mixed rows


def additive(score: Mixed, columns: int, background: int) -> Floats:
    """The contributions (p,) of a score that is a sum of functions of one column each: exact for linear models.

    Each column is exchanged alone, in each background row.
    """
    alone = np.vstack([np.zeros((1, columns), dtype=bool), np.eye(columns, dtype=bool)])
    each = _every(score, alone, background)
    return np.asarray((each[1:] - each[0]).mean(axis=1))


def enumerated(score: Mixed, columns: int, background: int) -> Floats:
    """The exact contributions (p,) of any score, over all subsets of the columns (Shapley 1953)."""
    subsets = (np.arange(2**columns)[:, None] >> np.arange(columns) & 1).astype(bool)
    value, size = _every(score, subsets, background).mean(axis=1), subsets.sum(axis=1)
    contributions = np.empty(columns)
    for column in range(columns):
        without = np.flatnonzero(~subsets[:, column])
        weights = 1 / (columns * binom(columns - 1, size[without]))
        contributions[column] = weights @ (value[without + (1 << column)] - value[without])
    return contributions


def sampled(score: Mixed, columns: int, background: int, pairs: int, seed: int) -> tuple[Floats, Floats]:
    """Estimates of the contributions of any score, and their standard errors (p,) each.

    Columns are exchanged one after the other in a random order and in its reverse (Mitchell et al. 2022, "Sampling
    permutations for Shapley value estimation"), `pairs` times in each background row, so that the contributions add up.
    """
    rng = np.random.default_rng(seed)
    gains = np.empty((background * pairs, columns))
    for number in range(background * pairs):
        order = rng.permutation(columns)
        place = np.full(columns + 1, number // pairs)
        each = []
        for way in (order, order[::-1]):
            masks = np.zeros((columns + 1, columns), dtype=bool)
            for step, column in enumerate(way):
                masks[step + 1 :, column] = True
            steps = np.diff(score(masks, place))
            gain = np.empty(columns)
            gain[way] = steps
            each.append(gain)
        gains[number] = np.mean(each, axis=0)
    # Between background rows the gains differ by the rows themselves, which is no error of the sampling.
    within = gains.reshape(background, pairs, columns).var(axis=1, ddof=1) / pairs
    return gains.mean(axis=0), np.sqrt(within.mean(axis=0) / background)


def _every(score: Mixed, masks: NDArray[np.bool_], background: int) -> Floats:
    """The scores (m, n) of each mask with each background row."""
    scores = np.empty((len(masks), background))
    at_once = max(1, _AT_ONCE // background)
    for start in range(0, len(masks), at_once):
        some = masks[start : start + at_once]
        mixed = score(np.repeat(some, background, axis=0), np.tile(np.arange(background), len(some)))
        scores[start : start + at_once] = mixed.reshape(len(some), background)
    return scores
