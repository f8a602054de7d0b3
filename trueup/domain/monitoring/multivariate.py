"""Whether the columns go together as they did: how well a classifier tells the batch from the reference.

Distances column by column do not see a change of how columns depend on each other. A classifier that learns to tell the
rows of two samples apart does: on other rows of samples from one distribution its AUC is 0.5 (the classifier two-sample
test, Lopez-Paz & Oquab 2017). Three things keep it from alarms about what is usual, or known by the column already:

- *Ranks.* Each column enters as its normal scores within the batch, or within its own block of the reference. So a movement
  of single columns, by weather, season or trend, does not count: the checks of the columns see it.
- *Folds of time.* The classifier learns on one half of the batch and every second block of the reference, and is measured on
  the others; then the halves change places. What only a few days have in common does not count.
- *A limit from the reference.* Blocks of the reference take the place of the batch, each compared with the others. The limit
  is the upper prediction bound of their AUCs (one further value, Student's t).

The classifier is a logistic regression on the sums and differences of the normal scores of a few pairs of columns: those
with the largest change of their rank correlation in the rows that it learns from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.cells import numbers, values_of
from trueup.domain.monitoring.reference_rows import Reference
from trueup.domain.types import EVENT_TIME

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

FALSE_ALARMS = 0.01
_FEWEST, _MOST = 4, 12  # blocks of the reference that take the batch's place
_ROWS, _FEWEST_ROWS = 1_000, 60  # of the batch and of a block
_TIMES = 3  # so many rows of the reference
_COLUMNS = 64  # at most: the pairs grow with their square
_PAIRS = 8  # that the classifier looks at


@dataclass(frozen=True)
class Multivariate:
    """How well a classifier tells the batch from the reference: `auc`, which has drifted if it is above `limit`."""

    auc: float
    limit: float | None  # None: the reference has too few blocks
    drifted: bool
    words: str


@dataclass(frozen=True)
class _Sample:
    """Normal scores (n, p) of rows, and the block of time (n,) of each."""

    scores: Floats
    blocks: Ints

    def take(self, chosen: NDArray[np.bool_] | Ints) -> _Sample:
        return _Sample(self.scores[chosen], self.blocks[chosen])


def separate(
    reference: Reference, current: pd.DataFrame, event_time: ArrayLike, schema: FeatureSchema, seed: int = 0
) -> Multivariate | None:
    """Measure how well a classifier tells the batch's rows from the reference's, beside blocks of the reference.

    `event_time` (m,) is that of the rows of `current`. At most 64 columns are compared. None with fewer than two columns
    that vary, two blocks of the reference, or 60 rows in the batch or in half of the blocks.
    """
    rng = np.random.default_rng(seed)
    before, now, names = _values(reference.complete, current, schema)
    blocks = reference.blocks[reference.rows.index.get_indexer(reference.complete.index)]
    kept, counts = np.unique(blocks, return_counts=True)
    size = int(min(np.median(counts), len(current), _ROWS)) if len(kept) else 0
    if len(names) < 2 or len(kept) < 2 or size < _FEWEST_ROWS:
        return None
    order = np.argsort(np.asarray(event_time), kind="stable")
    batch = _Sample(_scored(now, rng), np.empty(len(now), dtype=np.intp))
    batch.blocks[order] = np.arange(len(now)) * 2 // len(now)
    rest = _Sample(np.empty_like(before), blocks)
    for block in kept:
        rest.scores[blocks == block] = _scored(before[blocks == block], rng)
    auc, pair = _apart(batch, rest, size, rng)
    limit: float | None = 0.5 + float(scipy.stats.norm.isf(FALSE_ALARMS)) * _chance(size)
    assert limit is not None
    own: list[float] = []
    if auc > limit:  # the limit is no lower than chance, and costs the most
        own = _of_blocks(reference, rest, kept[counts >= size / 2], size, rng)
        limit = max(limit, _bound(own)) if len(own) >= _FEWEST else None
    drifted = limit is not None and auc > limit
    return Multivariate(auc, limit, drifted, _words(auc, limit, own, (names[pair[0]], names[pair[1]])))


def _words(auc: float, limit: float | None, own: list[float], pair: tuple[str, str]) -> str:
    said = f"by how columns go together, a classifier tells the batch from the reference with AUC {auc:.2f}"
    if limit is None:
        return f"{said}; the reference has too few blocks for a limit"
    if auc <= limit:
        return f"{said} (limit {limit:.2f})"
    return f"{said}, blocks of the reference with at most {max(own):.2f} (limit {limit:.2f}); most by {pair[0]} with {pair[1]}"


def _values(before: pd.DataFrame, now: pd.DataFrame, schema: FeatureSchema) -> tuple[Floats, Floats, list[str]]:
    """The values (n, p) and (m, p) of columns that vary on both sides, categories as codes, missing ones below all."""
    sides, names = [], []
    for name in schema.names[:_COLUMNS]:
        if name in schema.numeric:
            pair = [numbers(side, name).to_numpy() for side in (before, now)]
        else:
            both = pd.concat([values_of(before, name), values_of(now, name)]).astype(object)
            codes = pd.factorize(both, sort=False)[0].astype(np.float64)
            pair = [codes[: len(before)], codes[len(before) :]]
        pair = [np.where(np.isnan(side), -np.inf, side) for side in pair]
        if all(len(side) and (side != side[0]).any() for side in pair):
            sides.append(pair)
            names.append(name)
    if not names:
        return np.empty((len(before), 0)), np.empty((len(now), 0)), names
    return np.column_stack([a for a, _ in sides]), np.column_stack([b for _, b in sides]), names


def _scored(values: Floats, rng: np.random.Generator) -> Floats:
    """The normal scores of each column (n, p); equal values in random order, so that each column has the same scores."""
    n = len(values)
    ties = rng.random(values.shape)
    order = np.lexsort((ties.T, values.T), axis=1).T  # per column: by value, then by chance
    scores = np.empty_like(values)
    np.put_along_axis(scores, order, scipy.special.ndtri((np.arange(n) + 0.5) / n)[:, None], axis=0)
    return scores


def _of_blocks(reference: Reference, rest: _Sample, kept: Ints, size: int, rng: np.random.Generator) -> list[float]:
    """The AUCs of blocks of the reference in the place of the batch, spread evenly."""
    times = reference.complete[EVENT_TIME].to_numpy()
    chosen = kept if len(kept) <= _MOST else kept[np.linspace(0, len(kept) - 1, _MOST).astype(np.intp)]
    own = []
    for block in chosen:
        places = np.flatnonzero(rest.blocks == block)
        places = places[np.argsort(times[places], kind="stable")]
        halves = np.arange(len(places)) * 2 // len(places)
        own.append(_apart(_Sample(rest.scores[places], halves), rest.take(rest.blocks != block), size, rng)[0])
    return own


def _chance(size: int) -> float:
    """The standard error of an AUC of 0.5 with so many rows, and some times as many on the other side."""
    return float(np.sqrt((1 + 1 / _TIMES) / (12 * size)))


def _bound(own: list[float]) -> float:
    """The AUC that one more block exceeds with probability `FALSE_ALARMS`. What is below 0.5 is 0.5, by chance."""
    values, k = np.maximum(own, 0.5), len(own)
    apart = float(scipy.stats.t.ppf(1 - FALSE_ALARMS, k - 1)) * values.std(ddof=1) * np.sqrt(1 + 1 / k)
    return float(min(values.mean() + apart, 1.0))


def _apart(batch: _Sample, rest: _Sample, size: int, rng: np.random.Generator) -> tuple[float, tuple[int, int]]:
    """The AUC of telling a batch from other rows, the mean of two folds of time, and the pair of columns that tells most.

    The batch's blocks are its halves in time.
    """
    ours = batch.take(np.sort(rng.permutation(len(batch.scores))[:size]))
    theirs = rest.take(np.sort(rng.permutation(len(rest.scores))[: _TIMES * size]))
    halves = np.unique(theirs.blocks, return_inverse=True)[1] % 2
    folds = [(ours.take(ours.blocks == k), theirs.take(halves == k)) for k in (0, 1)]
    made = [_told(folds[k], folds[1 - k]) for k in (0, 1)]
    best = max(made, key=lambda one: one[0])[1]
    return float(np.mean([auc for auc, _ in made])), best


def _told(learn: tuple[_Sample, _Sample], measure: tuple[_Sample, _Sample]) -> tuple[float, tuple[int, int]]:
    """The AUC on the rows `measure` of a classifier that learned on others, and the pair that changed most in these."""
    from sklearn.linear_model import LogisticRegression  # loads where a batch is compared only

    first, second = _pairs(*(side.scores for side in learn))
    made = [np.concatenate([_together(side.scores, first, second) for side in part]) for part in (learn, measure)]
    y = [np.repeat([1, 0], [len(part[0].scores), len(part[1].scores)]) for part in (learn, measure)]
    if any(len(np.unique(each)) < 2 for each in y):
        return 0.5, (int(first[0]), int(second[0]))
    model = LogisticRegression(class_weight="balanced", C=0.1).fit(made[0], y[0])
    ranks = scipy.stats.rankdata(made[1] @ model.coef_[0])
    ones, zeros = int(y[1].sum()), int(len(y[1]) - y[1].sum())
    auc = (ranks[y[1] == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    return float(auc), (int(first[0]), int(second[0]))


def _pairs(ours: Floats, theirs: Floats) -> tuple[Ints, Ints]:
    """The pairs of columns with the largest change of their correlation, the largest first."""
    first, second = np.triu_indices(ours.shape[1], 1)
    changes = [np.arctanh(np.clip((s.T @ s / max(len(s), 1))[first, second], -0.99, 0.99)) for s in (ours, theirs)]
    largest = np.argsort(-np.abs(changes[0] - changes[1]), kind="stable")[:_PAIRS]
    return first[largest], second[largest]


def _together(scores: Floats, first: Ints, second: Ints) -> Floats:
    """The absolute sums and differences (n, 2 q) of pairs: together they show a correlation of either sign."""
    a, b = scores[:, first], scores[:, second]
    return np.column_stack([np.abs(a + b), np.abs(a - b)])
