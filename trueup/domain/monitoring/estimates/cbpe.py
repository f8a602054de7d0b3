"""Confidence-based performance estimation: a classifier's figures from its calibrated probabilities, without labels.

Where a calibrated model says 0.8, it is right in 80 % of rows. So its expected figures follow from its probabilities
alone: the expected log-loss of a row is -q log p - (1 - q) log (1 - p), with p the model's probability and q the
calibrated one. The method sees that inputs moved to where the model is worse. It cannot see that the relation of inputs
and labels changed: `check` says so once labels come.

Sources. NannyML's CBPE (https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html); calibration
by isotonic regression (Zadrozny & Elkan 2002). The expected AUC orders the rows by the model's own probabilities and
counts each as a positive with weight q and a negative with weight 1 - q.

Intervals say where the realised figure of the same rows lies if the relation stays: the noise of the labels given the
calibrated probabilities, enlarged where rows of the gate's blocks of time erred together, and the calibrator's error.
Both come from the figure's derivative by each row's probability (for the AUC as in DeLong, DeLong & Clarke-Pearson
1988).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Blocks, Floats, Interval, run_length
from trueup.domain.judging.metrics import figure, loss_words, row_losses
from trueup.domain.monitoring.estimates.alarm import Alarm, Limit, limit_of
from trueup.domain.monitoring.estimates.calibration import Calibrator
from trueup.domain.monitoring.estimates.check import gate_residuals, residual_check
from trueup.domain.monitoring.estimates.estimate import Estimate, EstimateCheck
from trueup.domain.monitoring.estimates.expected import SMALLEST, Expected, costs, expected_figures
from trueup.domain.types import Metric

MIN_ROWS = 100  # of the gate: fewer calibrate nothing
_CERTAIN = 1e-5  # smaller probabilities count as this for the alarm: a few rows of 0 and 1 would drown all others
_DRAWS = 100  # resamples of the calibrator, at most


@dataclass(frozen=True)
class _Gate:
    """What is kept of the gate's rows."""

    metrics: tuple[Metric, ...]
    extra: dict[str, float]  # by figure: the intraclass correlation of its errors within blocks of time
    limit: Limit
    residuals: Interval
    runs: float


@dataclass(frozen=True)
class Cbpe:
    """The estimator of one champion, fitted on its gate's rows by `fit`, and never anew."""

    task: Task
    classes: tuple[str, ...] | None
    calibrators: tuple[Calibrator, ...]  # one per class; a single one, of the second class, for two
    block: timedelta
    confidence: float
    gate: _Gate

    @classmethod
    def fit(
        cls,
        task: Task,
        y: ArrayLike,
        p: ArrayLike,
        event_time: ArrayLike,
        *,
        classes: Sequence[str] | None,
        block: timedelta,
        confidence: float,
        resamples: int,
        seed: int,
        min_change: float,
    ) -> Cbpe:
        """Fit on labels `y` (n,) and the champion's predictions `p` (n,), or (n, k) of a multiclass task, of its gate.

        `min_change` is the rise of expected log-loss, as a share of the best constant's, that is worth an alarm. Raises
        ValueError if the rows do not suffice: too few rows or blocks of time, one class, missing predictions.
        """
        labels, probabilities = np.asarray(y), _matrix(task, p)
        _require(task, labels, probabilities)
        hits = _hits(task, labels, classes)
        blocks = Blocks.of(event_time, block)
        losses = blocks.sums(row_losses(task, labels, p, classes))
        length = run_length(losses - blocks.sums() * (losses.sum() / blocks.sums().sum()))
        draws = min(resamples, _DRAWS)
        columns = (1,) if probabilities.shape[1] == 2 else range(probabilities.shape[1])
        calibrators = tuple(
            Calibrator.fit(hits[:, k], probabilities[:, k], blocks, length, draws, seed) for k in columns
        )
        calibrated = _calibrated(calibrators, probabilities)
        limit = limit_of(*costs(calibrated, probabilities, _CERTAIN), event_time, block, confidence, min_change)
        figures = expected_figures(task, calibrated, probabilities, classes)
        extra = {f.name: f.correlation(hits - calibrated, calibrated, blocks) for f in figures}
        runs = blocks.count / length
        metrics = tuple(
            _metric(f, f.noise(calibrated, extra[f.name], blocks), runs, len(labels), confidence) for f in figures
        )
        cost = costs(calibrated, probabilities)[0]
        residuals = gate_residuals(cost, row_losses(task, labels, p, classes), event_time, block, confidence)
        gate = _Gate(metrics, extra, limit, residuals, runs)
        return cls(task, tuple(classes) if classes else None, calibrators, block, confidence, gate)

    def estimate(self, p: ArrayLike, event_time: ArrayLike) -> Estimate:
        """Estimate the figures of a batch from its predictions, as in `fit`; rows without a prediction are left out.

        Raises ValueError if no row has one.
        """
        probabilities, event_time = _predicted(_matrix(self.task, p), event_time)
        if not len(probabilities):
            raise ValueError("no row has a prediction: nothing to estimate from")
        calibrated = _calibrated(self.calibrators, probabilities)
        blocks = Blocks.of(event_time, self.block)
        metrics = []
        for f in expected_figures(self.task, calibrated, probabilities, self.classes):
            noise = f.noise(calibrated, self.gate.extra.get(f.name, 0.0), blocks)
            error = float(np.hypot(noise, self._error(f.gradient, calibrated, probabilities)))
            metrics.append(_metric(f, error, self.gate.runs, len(probabilities), self.confidence))
        alarm = self.gate.limit.judge(*costs(calibrated, probabilities, _CERTAIN), event_time)
        return Estimate(
            "cbpe", len(probabilities), tuple(metrics), self.gate.metrics, alarm.worse, self._reason(metrics[0], alarm)
        )

    def check(self, y: ArrayLike, p: ArrayLike, event_time: ArrayLike) -> EstimateCheck | None:
        """Compare the expected with the realised log-loss of matured rows; None if they are too few."""
        matrix = _matrix(self.task, p)
        labels, there = np.asarray(y), np.isfinite(matrix).all(axis=1)
        probabilities, event_time = _predicted(matrix, event_time)
        if not len(probabilities):
            return None
        calibrated = _calibrated(self.calibrators, probabilities)
        cost = -np.log(np.clip(probabilities, SMALLEST, 1)) / len(probabilities)
        loss = Expected("log_loss", float(np.sum(calibrated * cost)), cost)
        return residual_check(
            loss_words(self.task),
            costs(calibrated, probabilities)[0],
            row_losses(self.task, labels[there], np.asarray(p)[there], self.classes),
            event_time,
            self.gate.residuals,
            self.block,
            self.confidence,
            sampling=loss.noise(calibrated, self.gate.extra["log_loss"], Blocks.of(event_time, self.block)),
            model_error=self._error(cost, calibrated, probabilities),
        )

    def _error(self, gradient: Floats, q: Floats, p: Floats) -> float:
        """The standard error of a figure with this derivative (n, k) that comes from the calibrators."""
        if len(self.calibrators) == 1:
            moved = self.calibrators[0].error(p[:, 1], gradient[:, 1] - gradient[:, 0])
            return float(np.sqrt(np.mean(moved**2)))
        # The calibrated probabilities of a row are scaled to a sum of one.
        scale = np.column_stack([c(p[:, k]) for k, c in enumerate(self.calibrators)]).sum(axis=1)
        own = (gradient - np.sum(gradient * q, axis=1, keepdims=True)) / np.where(scale > 0, scale, 1)[:, None]
        moves = sum(c.error(p[:, k], own[:, k]) for k, c in enumerate(self.calibrators))
        return float(np.sqrt(np.mean(np.square(moves))))

    def _reason(self, loss: Metric, alarm: Alarm) -> str:
        gate = self.gate.metrics[0]
        compared = (
            f"expected log-loss {figure(loss.value)}, {figure(gate.value)} at the gate: {alarm.ratio:.1%} of the best "
            f"constant's, {alarm.gate:.1%} at the gate"
        )
        limit = f"limit {alarm.limit:.1%}"
        return f"{compared}; it is beyond the {limit}" if alarm.worse else f"{compared} ({limit})"


def _metric(figure: Expected, error: float, runs: float, rows: int, confidence: float) -> Metric:
    """A figure with its interval by Student's t, within what the figure can be."""
    apart = error * float(scipy.special.stdtrit(max(runs - 1, 1.0), (1 + confidence) / 2))
    high = figure.value + apart if figure.name == "log_loss" else min(figure.value + apart, 1.0)
    return Metric(figure.name, figure.value, rows, max(figure.value - apart, 0.0), high, confidence)


def _matrix(task: Task, p: ArrayLike) -> Floats:
    """The probabilities of all classes (n, k)."""
    values = np.asarray(p, dtype=np.float64)
    return np.column_stack([1 - values, values]) if task is Task.BINARY else values


def _predicted(p: Floats, event_time: ArrayLike) -> tuple[Floats, NDArray[Any]]:
    """The rows whose probabilities (n, k) are all there, with their times."""
    there = np.isfinite(p).all(axis=1)
    return p[there], np.asarray(event_time)[there]


def _calibrated(calibrators: tuple[Calibrator, ...], p: Floats) -> Floats:
    """The calibrated probabilities (n, k), with a sum of one in each row."""
    if len(calibrators) == 1:
        positive = calibrators[0](p[:, 1])
        return np.column_stack([1 - positive, positive])
    own = np.column_stack([c(p[:, k]) for k, c in enumerate(calibrators)])
    whole = own.sum(axis=1, keepdims=True)
    return np.where(whole > 0, own / np.where(whole > 0, whole, 1), p)


def _hits(task: Task, y: NDArray[Any], classes: Sequence[str] | None) -> NDArray[np.bool_]:
    """One column per class, true if the row's label is that class: (n, k)."""
    if task is Task.BINARY:
        return np.column_stack([y != 1, y == 1])
    if not classes:
        raise ValueError("a multiclass task needs its classes")
    codes = pd.Index(classes).get_indexer(pd.Index(np.asarray(y, dtype=object)))
    return np.asarray(codes[:, None] == np.arange(len(classes)))


def _require(task: Task, y: NDArray[Any], p: Floats) -> None:
    """Raise ValueError with the reason why nothing can be fitted."""
    if task is Task.REGRESSION:
        raise ValueError("a regression has no probabilities to estimate from")
    if len(y) != len(p):
        raise ValueError(f"{len(y):,} labels but {len(p):,} predictions")
    if len(y) < MIN_ROWS:
        raise ValueError(f"the gate has {len(y):,} rows with labels; at least {MIN_ROWS} are needed")
    if missing := int((~np.isfinite(p)).any(axis=1).sum()):
        raise ValueError(f"{missing:,} predictions of the gate are missing or infinite")
    if pd.unique(y).size == 1:
        raise ValueError(f"the labels of the gate's rows are of one class only ({y[0]})")
