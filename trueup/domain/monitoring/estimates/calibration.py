"""Calibrated probabilities: how often a class occurs where a model predicts it with some probability.

Three curves are compared: the model's own probabilities, a logistic regression on their log-odds (Platt 1999), and
isotonic regression (Zadrozny & Elkan 2002). They are fitted on spans of time and predict the span that was left out,
and the one with the smallest log-loss is kept. Isotonic regression alone exaggerates from few rows: its steps follow
the noise and only ever rise, so it finds too much to tell apart. An expected AUC was .024 too high on average with 420
rows, and .004 with 4,200.

Curves are fitted to bins of rows: quantiles of all rows, of those of the class and of the others, so that rare classes
have bins of their own. They are linear between the bins' mean predictions. Their error is the spread of the fits to
resamples of whole blocks of time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from trueup.domain.judging.bootstrap import Blocks, Floats, multiplicities

Curve = Literal["own", "logistic", "isotonic"]

_BINS = 64  # of each of three kinds
_FOLDS = 5  # spans of time, each predicted from the others
_FARTHEST = 1e-6  # from 0 and 1, for log-odds
_TAILS = scipy.special.expit(np.arange(-12, 12.5, 0.5))  # predictions beyond the bins at which a curve is evaluated
_STEPS, _RIDGE = 12, 1e-3  # of Newton's method; in rows, so that separable classes have a finite slope


@dataclass(frozen=True, eq=False)
class Calibrator:
    """The share (points,) of a class at predictions `at` (points,), and how `moved` (draws, points) it is in resamples."""

    curve: Curve
    at: Floats
    share: Floats
    moved: Floats

    @classmethod
    def fit(cls, hits: NDArray[np.bool_], p: Floats, blocks: Blocks, length: int, draws: int, seed: int) -> Calibrator:
        """Fit to labels (n,) and predictions (n,) whose rows lie in `blocks`; resamples take `length` blocks together."""
        curve = _best(hits, p, blocks)
        edges = _edges(hits, p)
        cells = blocks.codes * (len(edges) + 1) + np.searchsorted(edges, p, side="right")
        shape = (blocks.count, len(edges) + 1)
        rows, ones, sums = (
            np.bincount(cells, w, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
            for w in (None, hits, p)
        )
        there = rows.sum(axis=0) > 0
        rows, ones, at = rows[:, there], ones[:, there], sums.sum(axis=0)[there] / rows.sum(axis=0)[there]
        below, above = (_TAILS[np.less(_TAILS, at[0])], _TAILS[np.greater(_TAILS, at[-1])])
        points = np.concatenate([below, at, above])
        fitted = _curve(curve, at, ones.sum(axis=0)[None], rows.sum(axis=0)[None], points)[0]
        times = multiplicities(blocks.count, length, draws, seed)
        moved = _curve(curve, at, times @ ones, times @ rows, points) - fitted
        return cls(curve, points, fitted, moved)

    def __call__(self, p: Floats) -> Floats:
        """The calibrated probabilities (n,) of predictions (n,)."""
        return p if self.curve == "own" else np.interp(p, self.at, self.share)

    def error(self, p: Floats, gradient: Floats) -> Floats:
        """How far a sum of `gradient` (n,) times probabilities (n,) moves in each resample: (draws,)."""
        right = np.clip(np.searchsorted(self.at, p, side="right"), 1, len(self.at) - 1)
        left = right - 1
        part = np.clip((p - self.at[left]) / (self.at[right] - self.at[left]), 0, 1)
        weights = np.bincount(left, gradient * (1 - part), minlength=len(self.at))
        weights += np.bincount(right, gradient * part, minlength=len(self.at))
        return np.asarray(self.moved @ weights)


def _best(hits: NDArray[np.bool_], p: Floats, blocks: Blocks) -> Curve:
    """The curve with the smallest log-loss on spans of time that it was not fitted on; the simplest among equals."""
    folds = blocks.codes * _FOLDS // blocks.count
    costs = {"own": 0.0, "logistic": 0.0, "isotonic": 0.0}
    for fold in range(_FOLDS):
        apart = folds == fold
        known, given, new = hits[~apart], p[~apart], p[apart]
        if known.all() or not known.any():
            return "own"
        edges = _edges(known, given)
        binned = np.searchsorted(edges, given, side="right")
        rows, ones, sums = (np.bincount(binned, w, len(edges) + 1).astype(np.float64) for w in (None, known, given))
        there = rows > 0
        at = sums[there] / rows[there]
        curves: tuple[Curve, ...] = ("logistic", "isotonic")
        predicted = {c: np.interp(new, at, _curve(c, at, ones[there][None], rows[there][None], at)[0]) for c in curves}
        for name, q in {"own": new, **predicted}.items():
            # What never happened in n rows is rarer than 1 in n, not impossible.
            certain = np.clip(q, 1 / len(known), 1 - 1 / len(known))
            costs[name] -= float(np.log(np.where(hits[apart], certain, 1 - certain)).sum())
    best: Curve = min(("own", "logistic", "isotonic"), key=lambda c: costs[c])
    return best


def _edges(hits: NDArray[np.bool_], p: Floats) -> Floats:
    """Limits between the bins: (bins - 1,)."""
    levels = np.linspace(0, 1, _BINS + 1)[1:-1]
    return np.unique(np.concatenate([np.quantile(of, levels) for of in (p, p[hits], p[~hits]) if len(of)]))


def _curve(curve: Curve, at: Floats, ones: Floats, rows: Floats, points: Floats) -> Floats:
    """The shares (draws, points) of curves fitted to the class's rows `ones` among `rows` (draws, bins) at `at` (bins,).

    The model's own probabilities are known as well as a logistic curve is.
    """
    if curve != "isotonic":
        return _logistic(at, ones, rows, points)
    return np.asarray([np.interp(points, at, _isotonic(o, r)) for o, r in zip(ones, rows, strict=True)])


def _logistic(at: Floats, ones: Floats, rows: Floats, points: Floats) -> Floats:
    """Logistic regressions on the log-odds, by Newton's method for all draws together."""
    x = _log_odds(at)
    a, b = np.zeros((len(ones), 1)), np.ones((len(ones), 1))
    for _ in range(_STEPS):
        q = scipy.special.expit(a + b * x)
        weight = rows * q * (1 - q)
        missed = ones - rows * q
        g0, g1 = missed.sum(axis=1), (missed * x).sum(axis=1) - _RIDGE * (b[:, 0] - 1)
        h00, h01, h11 = weight.sum(axis=1) + _RIDGE, (weight * x).sum(axis=1), (weight * x**2).sum(axis=1) + _RIDGE
        inverse = h00 * h11 - h01**2
        a = a + np.clip((h11 * g0 - h01 * g1) / inverse, -2, 2)[:, None]
        b = b + np.clip((h00 * g1 - h01 * g0) / inverse, -1, 1)[:, None]
    return np.asarray(scipy.special.expit(a + b * _log_odds(points)))


def _log_odds(p: Floats) -> Floats:
    return np.asarray(scipy.special.logit(np.clip(p, _FARTHEST, 1 - _FARTHEST)))


def _isotonic(ones: Floats, rows: Floats) -> Floats:
    """The non-decreasing shares (bins,) that fit best; bins without rows take their neighbours' shares."""
    from sklearn.isotonic import isotonic_regression  # takes long to import, and read-only commands do not need it

    there = rows > 0
    fitted = isotonic_regression(ones[there] / rows[there], sample_weight=rows[there], y_min=0, y_max=1)
    places = np.arange(len(rows))
    return np.asarray(np.interp(places, places[there], fitted), dtype=np.float64)
