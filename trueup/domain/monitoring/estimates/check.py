"""The comparison of an estimate with the figure that the labels gave later.

The row residuals, realised minus expected loss, are zero on average as long as the relation of predictions and labels
stays. Their mean over a batch is compared with what it would be then: its sampling error as at the gate, together with
the error of the estimate's own level. The spread of the batch's own residuals is not used, because a change enlarges
it and would hide itself. An estimate is `off` if its error is beyond that noise, at a level that few batches reach by
chance, and beyond a tolerance.
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
    sampling: float | None = None,
    model_error: float | None = None,
) -> EstimateCheck | None:
    """Compare expected with realised losses (n,) of matured rows.

    `gate` is the interval of the residuals' mean on the gate's rows, by `gate_residuals`. `sampling` is the standard
    error of the realised mean of these rows, `model_error` that of the expected one; without them, they are as on the
    gate's rows. Returns None if there are too few rows.
    """
    estimated, came = np.asarray(expected, dtype=np.float64), np.asarray(realised, dtype=np.float64)
    if len(came) < MIN_ROWS:
        return None
    runs = max(Blocks.of(event_time, block).count / gate.block_length, 1.0)
    own = gate.error * np.sqrt(gate.runs / runs) if sampling is None else sampling
    noise = float(np.hypot(own, gate.error if model_error is None else model_error))
    said, was = float(estimated.mean()), float(came.mean())
    freedom = max(gate.runs - 1, 1.0)
    apart = noise * float(scipy.special.stdtrit(freedom, (1 + confidence) / 2))
    beyond = noise * float(scipy.special.stdtrit(freedom, 1 - FALSE_ALARMS / 2))
    error = was - said
    off = abs(error) > max(beyond, TOLERANCE * max(was, said))
    low, high = error - apart, error + apart
    return EstimateCheck(said, was, error, low, high, off, _words(loss_words, said, was, off, low, high))


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
    return (
        f"{compared}: more apart than sampling explains (error {low:.3g} to {high:.3g}), so the relation of predictions "
        f"and labels changed and the model is {than} than its inputs tell"
    )
