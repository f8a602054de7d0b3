"""Expected figures of a classifier from calibrated probabilities, with their derivatives by each probability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Blocks, Floats, sums_interval

SMALLEST = 1e-15  # as in the realised log-loss
_ROUNDING = 1e-12  # of the rows: a smaller expected number counts as none
_SHOWN = 5  # classes with a confusion of their own, the most frequent first


@dataclass(frozen=True, eq=False)
class Expected:
    """A figure's expected value. `gradient` (n, k) is its derivative by the probability of each row's classes."""

    name: str
    value: float
    gradient: Floats

    def noise(self, q: Floats, correlation: float, blocks: Blocks) -> float:
        """The standard error of the realised figure, given that labels are drawn from `q` (n, k).

        `correlation` is that of the rows of a block of time.
        """
        return float(np.sqrt(self._variance(q).sum() * (1 + correlation * (_size(blocks) - 1))))

    def correlation(self, residual: Floats, q: Floats, blocks: Blocks) -> float:
        """How far the errors of a block's rows are alike, from labels minus `q` (n, k): 0 (not) to 1 (all the same)."""
        size, independent = _size(blocks), float(self._variance(q).sum())
        if size <= 1 or independent <= 0:
            return 0.0
        moved = len(q) * sums_interval(blocks.sums(np.sum(residual * self.gradient, axis=1)), blocks.sums(), 0.95).error
        return float(np.clip((moved**2 / independent - 1) / (size - 1), 0, 1))

    def _variance(self, q: Floats) -> Floats:
        return np.asarray(np.sum(q * self.gradient**2, axis=1) - np.sum(q * self.gradient, axis=1) ** 2)


def costs(q: Floats, p: Floats, smallest: float = SMALLEST) -> tuple[Floats, Floats]:
    """Each row's expected log-loss (n,), and that of the best constant, the mean of the calibrated `q` (n, k).

    Probabilities `p` below `smallest` count as that.

    >>> loss, base = costs(np.array([[0.5, 0.5]]), np.array([[0.5, 0.5]]))
    >>> loss.round(3).tolist(), base.round(3).tolist()
    ([0.693], [0.693])
    """
    share = np.log(np.clip(q.mean(axis=0), SMALLEST, 1))
    return -np.sum(q * np.log(np.clip(p, smallest, 1)), axis=1), -(q @ share)


def expected_figures(task: Task, q: Floats, p: Floats, classes: Sequence[str] | None) -> list[Expected]:
    """All figures of calibrated `q` and predicted `p` (n, k), the deciding loss first.

    log_loss, auc or auc_ovr, accuracy (of the most probable class), and the confusion as shares of the rows:
    expected_tp, _fp, _fn and _tn; for more than two classes tp, fp and fn of the five most frequent ones. A class whose
    probability is the same in all rows has no AUC.
    """
    n, k = p.shape
    cost = -np.log(np.clip(p, SMALLEST, 1))
    figures = [Expected("log_loss", float(np.sum(q * cost) / n), cost / n)]
    areas = [_auc(q[:, c], p[:, c]) for c in ([1] if k == 2 else range(k))]
    present = [(c, area) for c, area in zip([1] if k == 2 else range(k), areas, strict=True) if area is not None]
    if present:
        gradient = np.zeros((n, k))
        for c, (_, slope) in present:
            gradient[:, c] = slope / len(present)
        name = "auc" if task is Task.BINARY else "auc_ovr"
        figures.append(Expected(name, float(np.mean([value for _, (value, _) in present])), gradient))
    said = p.argmax(axis=1)[:, None] == np.arange(k)
    figures.append(_share("accuracy", q, said))
    if task is Task.BINARY:
        return figures + _confusion("", q, said, 1, true_negatives=True)
    for c in np.argsort(-q.mean(axis=0), kind="stable")[:_SHOWN]:
        figures += _confusion(f"_{classes[c] if classes else c}", q, said, int(c))
    return figures


def _confusion(of: str, q: Floats, said: NDArray[np.bool_], c: int, *, true_negatives: bool = False) -> list[Expected]:
    own = np.arange(q.shape[1]) == c
    cells = [("tp", said[:, [c]] & own), ("fp", said[:, [c]] & ~own), ("fn", ~said[:, [c]] & own)]
    if true_negatives:
        cells.append(("tn", ~said[:, [c]] & ~own))
    return [_share(f"expected_{name}{of}", q, cell) for name, cell in cells]


def _share(name: str, q: Floats, counted: NDArray[np.bool_]) -> Expected:
    """The expected share of rows whose class is one of the `counted` (n, k)."""
    gradient = counted / len(q)
    return Expected(name, float(np.sum(q * gradient)), gradient)


def _auc(q: Floats, p: Floats) -> tuple[float, Floats] | None:
    """The expected AUC of one class and its derivative (n,): the share of weighted pairs in the order of `p`.

    None if only one class is expected.
    """
    rank = np.unique(p, return_inverse=True)[1]
    ones, zeros = (np.bincount(rank, w) for w in (q, 1 - q))
    positives, negatives = float(ones.sum()), float(zeros.sum())
    if min(positives, negatives) <= _ROUNDING * len(p):
        return None
    below = ((zeros.cumsum() - zeros / 2) / negatives)[rank]  # the share of negatives with a smaller prediction
    above = ((positives - ones.cumsum() + ones / 2) / positives)[rank]
    area = float(q @ below / positives)
    return area, (below - area) / positives - (above - area) / negatives


def _size(blocks: Blocks) -> float:
    """The rows in the block of a typical row."""
    rows = blocks.sums()
    return float(rows @ rows / rows.sum())
