"""Synthetic streams with known changes, to compare promotion rules (`benchmarks/gates.py`).

Time is counted in blocks, 28 to a period: a month of days, or a week of quarters of a day. A period is the span from
one attempt to the next. Everything is drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.config.sections.training import Family
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema

Floats = NDArray[np.float64]
PERIOD = 28  # blocks
PERIODS = 28
FIRST = 6  # periods that the first champion learns from
CHOOSING, REPORTED = (
    "choosing",
    "reported",
)  # the halves: on one the defaults are chosen, on the other they are reported


@dataclass(frozen=True, eq=False)
class Data:
    """Rows in order of time, with the calendar of attempts.

    `block` (n,) is each row's block; period k covers the blocks from edges[k] up to edges[k + 1]; the first champion is
    fitted at edges[first]. A label is known `delay` blocks after its row. `trailing` is the training window in periods.
    """

    name: str
    kind: str
    half: str
    task: Task
    X: pd.DataFrame
    y: NDArray[Any]
    block: NDArray[np.intp]
    edges: NDArray[np.intp]
    first: int
    schema: FeatureSchema
    family: Family = "gradient_boosting"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    delay: int = 1
    trailing: int | None = None
    seed: int = 0

    @property
    def blocks(self) -> int:
        """The number of blocks."""
        return int(self.edges[-1])


@dataclass(frozen=True)
class Stream:
    """How a made-up stream is drawn. `noise` scales what the features do not tell; `rows` are those of one block."""

    name: str
    kind: str  # none, abrupt, gradual, recurring, seasonal
    half: str
    task: Task = Task.BINARY
    noise: float = 1.0
    rows: int = 12
    tail: str = ""  # of a regression's noise: "", "student" (2.5 degrees of freedom), "lognormal"
    offset: float = 0.0  # of the log-odds: negative makes positives rare
    delay: int = 1
    trailing: int | None = None
    family: Family = "gradient_boosting"
    size: float = 1.0  # how much changes

    def data(self, seed: int) -> Data:
        """Draw the rows."""
        rng = np.random.default_rng([seed, *self.name.encode()])
        blocks = PERIOD * PERIODS
        block = np.repeat(np.arange(blocks), self.rows)
        n, u = len(block), block / blocks
        X = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(1, 6)})
        X["group"] = rng.choice(["a", "b", "c", "d"], size=n, p=[0.4, 0.3, 0.2, 0.1])
        season = np.sin(2 * np.pi * block / (13 * PERIOD))
        if self.kind == "seasonal":
            X["x1"] += season
        angle = self.size * self._angle(u, block, season)
        x1, x2, x3 = (X[c].to_numpy() for c in ("x1", "x2", "x3"))
        signal = (
            1.5 * (np.cos(angle) * x1 + np.sin(angle) * x3)
            + 1.2 * np.sign(x1 * x2)
            + np.where(X["group"] == "a", 0.8, 0.0)
        )
        schema = FeatureSchema(tuple(f"x{i}" for i in range(1, 6)), ("group",))
        # With few features a split, or few trees, the seed alone would move the loss by several percent.
        parameters = {
            "max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 8, "min_samples_leaf": 20, "max_features": 0.8,
        }  # fmt: skip
        return Data(
            self.name, self.kind, self.half, self.task, X, self._label(rng, signal), block,
            np.arange(PERIODS + 1) * PERIOD, FIRST, schema, self.family,
            parameters if self.family == "gradient_boosting" else {}, self.delay, self.trailing, seed,
        )  # fmt: skip

    def _angle(self, u: Floats, block: NDArray[np.intp], season: Floats) -> Floats:
        """The rotation of the relation, in radians."""
        if self.kind == "abrupt":
            return np.where(u < 0.45, 0.0, 2.0)
        if self.kind == "gradual":
            return 2.5 * np.clip((u - 0.2) / 0.8, 0, 1)
        if self.kind == "recurring":
            return np.where((block // (5 * PERIOD)) % 2 == 0, 0.0, 1.5)
        return 0.8 * season if self.kind == "seasonal" else np.zeros(len(u))

    def _label(self, rng: np.random.Generator, signal: Floats) -> NDArray[Any]:
        n = len(signal)
        if self.task is Task.BINARY:
            odds = 1.5 * signal / self.noise + self.offset
            return (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
        if self.tail == "lognormal":  # prices, incomes: the spread grows with the level
            return np.exp(0.5 * signal + 0.8 * self.noise * rng.normal(size=n))
        rest = rng.standard_t(2.5, n) if self.tail == "student" else rng.normal(size=n)
        return signal + self.noise * rest


_REGRESSION = Task.REGRESSION
STREAMS = (
    Stream("none, low noise", "none", CHOOSING, noise=0.7),
    Stream("none, high noise", "none", REPORTED, noise=3),
    Stream("none, tiny", "none", CHOOSING, rows=2),
    Stream("none, large", "none", REPORTED, rows=50),
    Stream("none, regression", "none", REPORTED, _REGRESSION),
    Stream("none, heavy tails", "none", CHOOSING, _REGRESSION, tail="lognormal"),
    Stream("none, heavier tails", "none", REPORTED, _REGRESSION, noise=2, tail="student"),
    Stream("none, rare positives", "none", CHOOSING, offset=-6, rows=30),
    Stream("abrupt, low noise", "abrupt", CHOOSING, noise=0.7),
    Stream("abrupt, low noise, trailing", "abrupt", REPORTED, noise=0.7, trailing=6),
    Stream("abrupt, high noise", "abrupt", REPORTED, noise=3),
    Stream("abrupt, small, trailing", "abrupt", CHOOSING, noise=1.5, trailing=6, size=0.4),
    Stream("abrupt, tiny", "abrupt", CHOOSING, rows=2),
    Stream("abrupt, large", "abrupt", REPORTED, rows=50, size=0.4),
    Stream("abrupt, heavy tails", "abrupt", REPORTED, _REGRESSION, tail="lognormal"),
    Stream("abrupt, heavier tails", "abrupt", CHOOSING, _REGRESSION, noise=1, tail="student"),
    Stream("abrupt, rare positives", "abrupt", REPORTED, offset=-6, rows=30),
    Stream("abrupt, late labels", "abrupt", CHOOSING, delay=2 * PERIOD),
    Stream("gradual, low noise", "gradual", REPORTED, noise=0.7),
    Stream("gradual, high noise, trailing", "gradual", CHOOSING, noise=3, trailing=8),
    Stream("gradual, trailing", "gradual", REPORTED, trailing=6),
    Stream("gradual, linear", "gradual", CHOOSING, family="linear", trailing=6),
    Stream("gradual, heavy tails", "gradual", CHOOSING, _REGRESSION, tail="lognormal", trailing=8),
    Stream("gradual, late labels", "gradual", REPORTED, delay=PERIOD, trailing=6),
    Stream("recurring, low noise", "recurring", CHOOSING, noise=0.7),
    Stream("recurring, high noise, trailing", "recurring", REPORTED, noise=2, trailing=3),
    Stream("seasonal, low noise", "seasonal", REPORTED, noise=0.7),
    Stream("seasonal, regression, trailing", "seasonal", CHOOSING, _REGRESSION, trailing=4),
)
