"""Calibrated probabilities: how often a class occurs where a model predicts it with some probability.

Isotonic regression of the labels on the predictions, on rows that the model was not trained on. It is fitted to bins of
rows: quantiles of all rows, of those of the class and of the others, so that rare classes have bins of their own.
Between the bins' mean predictions it is linear. Its error is the spread of the fits to resamples of whole blocks of
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trueup.domain.judging.bootstrap import Blocks, Floats, multiplicities

_BINS = 64  # of each of three kinds
_FOLDS = 5  # spans of time that are predicted from the others, to decide whether calibration helps
_ERROR_BINS = 10  # of the calibration error


@dataclass(frozen=True, eq=False)
class Calibrator:
    """The share (bins,) of a class at predictions `at` (bins,), and how `moved` (draws, bins) it is in resamples.

    `used` is False if the model's own probabilities are no worse on rows that the calibrator has not seen.
    """

    at: Floats
    share: Floats
    moved: Floats
    used: bool

    @classmethod
    def fit(cls, hits: NDArray[np.bool_], p: Floats, blocks: Blocks, length: int, draws: int, seed: int) -> Calibrator:
        """Fit to labels (n,) and predictions (n,) whose rows lie in `blocks`; resamples take `length` blocks together."""
        edges = _edges(hits, p)
        binned = np.searchsorted(edges, p, side="right")
        cells = blocks.codes * (len(edges) + 1) + binned
        shape = (blocks.count, len(edges) + 1)
        rows, ones = (np.bincount(cells, w, minlength=shape[0] * shape[1]).reshape(shape) for w in (None, hits))
        there = rows.sum(axis=0) > 0
        rows, ones = rows[:, there], ones[:, there]
        at = (np.bincount(binned, p, minlength=shape[1])[there]) / rows.sum(axis=0)
        share = _isotonic(ones.sum(axis=0), rows.sum(axis=0))
        times = multiplicities(blocks.count, length, draws, seed)
        drawn = [_isotonic(o, r) for o, r in zip(times @ ones, times @ rows, strict=True)]
        return cls(at, share, np.asarray(drawn) - share, _helps(hits, p, blocks))

    def __call__(self, p: Floats) -> Floats:
        """The calibrated probabilities (n,) of predictions (n,)."""
        return np.interp(p, self.at, self.share) if self.used else p

    def error(self, p: Floats, gradient: Floats) -> Floats:
        """How far a sum of `gradient` (n,) times probabilities (n,) moves in each resample: (draws,)."""
        right = np.clip(np.searchsorted(self.at, p, side="right"), 1, max(len(self.at) - 1, 1))
        if len(self.at) == 1:
            return np.asarray(self.moved[:, 0] * gradient.sum())
        left = right - 1
        part = np.clip((p - self.at[left]) / (self.at[right] - self.at[left]), 0, 1)
        weights = np.bincount(left, gradient * (1 - part), minlength=len(self.at))
        weights += np.bincount(right, gradient * part, minlength=len(self.at))
        return np.asarray(self.moved @ weights)


def _edges(hits: NDArray[np.bool_], p: Floats) -> Floats:
    """Limits between the bins: (bins - 1,)."""
    levels = np.linspace(0, 1, _BINS + 1)[1:-1]
    return np.unique(np.concatenate([np.quantile(of, levels) for of in (p, p[hits], p[~hits]) if len(of)]))


def _isotonic(ones: Floats, rows: Floats) -> Floats:
    """The non-decreasing shares (bins,) that fit best; bins without rows take their neighbours' shares."""
    from sklearn.isotonic import isotonic_regression  # takes long to import, and read-only commands do not need it

    there = rows > 0
    fitted = isotonic_regression(ones[there] / rows[there], sample_weight=rows[there], y_min=0, y_max=1)
    if there.all():
        return np.asarray(fitted)
    places = np.arange(len(rows))
    return np.asarray(np.interp(places, places[there], fitted), dtype=np.float64)


def _helps(hits: NDArray[np.bool_], p: Floats, blocks: Blocks) -> bool:
    """Whether calibration lowers the calibration error on spans of time that it was not fitted on."""
    folds = blocks.codes * _FOLDS // blocks.count
    calibrated = np.array(p)
    for fold in range(_FOLDS):
        apart = folds == fold
        known = hits[~apart]
        if not apart.any() or known.all() or not known.any():
            continue
        edges = _edges(known, p[~apart])
        binned = np.searchsorted(edges, p[~apart], side="right")
        rows = np.bincount(binned, minlength=len(edges) + 1).astype(np.float64)
        there = rows > 0
        at = np.bincount(binned, p[~apart], minlength=len(rows))[there] / rows[there]
        share = _isotonic(np.bincount(binned, known, len(rows))[there].astype(np.float64), rows[there])
        calibrated[apart] = np.interp(p[apart], at, share)
    return _calibration_error(hits, calibrated) < _calibration_error(hits, p)


def _calibration_error(hits: NDArray[np.bool_], p: Floats) -> float:
    """The mean distance of predicted and observed shares, in bins of equal row counts."""
    limits = np.unique(np.quantile(p, np.linspace(0, 1, _ERROR_BINS + 1)[1:-1]))
    binned = np.searchsorted(limits, p, side="right")
    return float(np.abs(np.bincount(binned, hits - p)).sum() / len(p))
