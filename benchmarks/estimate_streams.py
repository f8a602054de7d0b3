"""Made-up streams for `benchmarks/estimates.py`, whose truth is known: none, the inputs or the relation changes.

A champion predicts log-odds of which the true ones are a fixed function: it is not calibrated. Each day has a shift of
its inputs and of its base rate of its own, which may resemble the day before. Everything is drawn from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np
from numpy.typing import NDArray

from benchmarks.estimate_tables import Case, Rows
from trueup.config.tasks import Task

Floats = NDArray[np.float64]
GATE = 14  # days
BATCHES = 12
FROM = 6  # the first batch that changes
_SLOPE = 0.8  # of the true log-odds by the predicted ones


@dataclass(frozen=True)
class World:
    """`days` of a batch with `rows` a day; days move `daily` in inputs and odds, `alike` from day to day.

    From the batch FROM on the inputs are `narrowed` (their spread becomes that share, and so does what can be told
    apart) and moved by `shift`, and the effect of the predictions on the odds is `slope` of what it was.
    """

    rows: int = 300
    days: int = 7
    base: float = 0.0  # log-odds
    daily: float = 0.1
    alike: float = 0.0
    narrowed: float = 1.0
    shift: float = 0.0
    slope: float = 1.0


def drawn(world: World, seed: int) -> Case:
    """A gate of 14 days and 12 batches."""
    rng = np.random.default_rng(seed)
    days = GATE + BATCHES * world.days
    inputs, level = (world.daily * _process(rng, days, world.alike) for _ in range(2))
    gate = _rows(replace(world, narrowed=1.0, shift=0.0, slope=1.0), rng, inputs, level, 0, GATE)
    batches = []
    for k in range(BATCHES):
        now = world if k >= FROM else replace(world, narrowed=1.0, shift=0.0, slope=1.0)
        start = GATE + k * world.days
        batches.append(_rows(now, rng, inputs, level, start, start + world.days))
    return Case("stream", Task.BINARY, gate, batches, timedelta(days=1))


def _rows(world: World, rng: np.random.Generator, inputs: Floats, level: Floats, start: int, end: int) -> Rows:
    day = np.repeat(np.arange(start, end), world.rows)
    odds = world.base + world.shift + inputs[day] + rng.normal(0, 1.5 * world.narrowed, len(day))
    true = world.base + _SLOPE * world.slope * (odds - world.base) + level[day]
    y = (rng.random(len(day)) < 1 / (1 + np.exp(-true))).astype(int)
    time = np.datetime64("2024-01-01", "us") + day.astype("timedelta64[D]")
    return Rows(y, 1 / (1 + np.exp(-odds)), time)


def _process(rng: np.random.Generator, days: int, alike: float) -> Floats:
    """A stationary AR(1) process of variance 1: (days,)."""
    values = rng.standard_normal(days)
    for i in range(1, days):
        values[i] = alike * values[i - 1] + np.sqrt(1 - alike**2) * values[i]
    return values
