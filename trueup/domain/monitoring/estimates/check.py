"""The comparison of an estimate with the figure that the labels gave later.

The row residuals, realised minus expected loss, are near zero on average as long as the relation between predictions
and labels stays. Their mean over a batch is bounded by a block bootstrap, together with the error of the estimate's own
level, which comes from the gate (MOVER). An estimate is `off` if its error is beyond that noise, at a level that few
batches reach by chance, and beyond a tolerance.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import scipy
from numpy.typing import ArrayLike

from trueup.domain.judging.bootstrap import Blocks, Interval, sums_interval
from trueup.domain.judging.metrics import figure
from trueup.domain.monitoring.estimates.alarm import FALSE_ALARMS
from trueup.domain.monitoring.estimates.estimate import EstimateCheck

TOLERANCE = 0.02  # of the larger of both losses: a smaller error misleads nobody
MIN_ROWS = 30  # fewer matured rows say nothing about an estimate


def residual_check(
    loss_words: str,
    expected: ArrayLike,
    realised: ArrayLike,
    event_time: ArrayLike,
    gate: Interval,
    block: timedelta,
    confidence: float,
    *,
    model_error: float = 0.0,
) -> EstimateCheck | None:
    """Compare expected with realised losses (n,) of matured rows.

    `gate` is the interval of the residuals' mean on the gate's rows, by `gate_residuals`. `model_error` is the standard
    error of the expected mean on these rows, if the method knows it. Returns None if there are too few rows.
    """
    estimated, came = np.asarray(expected, dtype=np.float64), np.asarray(realised, dtype=np.float64)
    if len(came) < MIN_ROWS:
        return None
    blocks = Blocks.of(event_time, block)
    own = sums_interval(blocks.sums(came - estimated), blocks.sums(), confidence)
    runs = max(own.blocks / gate.block_length, 1.0)
    # A batch of few blocks cannot show its own spread.
    sampling = own.error if own.enough else gate.error * np.sqrt(gate.runs / runs)
    error = float(np.hypot(sampling, max(gate.error, model_error)))
    freedom = min(own.runs, gate.runs) - 1 if own.enough else gate.runs - 1
    bounds = Interval.of(own.mean, error, own.blocks, own.block_length, confidence)
    t = float(scipy.special.stdtrit(freedom, (1 + confidence) / 2))
    tolerance = TOLERANCE * max(float(came.mean()), float(estimated.mean()))
    p = 2 * float(scipy.special.stdtr(freedom, -abs(bounds.mean) / error)) if error else float(bounds.mean == 0)
    off = p < FALSE_ALARMS and abs(own.mean) > tolerance
    said, was = float(estimated.mean()), float(came.mean())
    low, high = own.mean - t * error, own.mean + t * error
    return EstimateCheck(said, was, own.mean, low, high, off, _words(loss_words, said, was, off, low, high))


def gate_residuals(
    expected: ArrayLike, realised: ArrayLike, event_time: ArrayLike, block: timedelta, confidence: float
) -> Interval:
    """The interval of realised minus expected loss over the gate's rows (n,). Raises ValueError without rows."""
    blocks = Blocks.of(event_time, block)
    residual = np.asarray(realised, dtype=np.float64) - np.asarray(expected, dtype=np.float64)
    return sums_interval(blocks.sums(residual), blocks.sums(), confidence)


def _words(loss: str, said: float, was: float, off: bool, low: float, high: float) -> str:
    compared = f"{loss} was {figure(was)}, {figure(said)} had been estimated"
    if not off:
        return f"{compared}: no more apart than sampling explains (error {low:.3g} to {high:.3g})"
    than = "worse" if was > said else "better"
    return f"{compared}: the relation of predictions and labels changed, the model is {than} than its inputs tell"
