"""Direct loss estimation: a regression's figures from a model of its loss, without labels.

A small gradient boosting learns how large the squared error of a row is, from the row's features and the prediction. So
it knows which rows the champion predicts well, and a batch with more of the others has a larger expected error. As CBPE
it is blind to a changed relation of inputs and labels: `check` says so once labels come.

The rows that judged the champion are halved in order of time, and a boosting is fitted on each half. Each predicts the
other half, which neither it nor the champion has seen: this gives the level of the estimates and their errors. Later
rows get the mean of both. The boosting minimises the Poisson deviance, which keeps
estimates positive and their mean right (Wooldridge 1999, "Quasi-likelihood methods for count data"); squared deviance
of squared errors follows single rows. The absolute error of a row is taken as a constant times the root of its expected
squared error: one model for all figures.

Source: NannyML's DLE (https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import ArrayLike, NDArray

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Blocks, Floats, Interval, sums_interval
from trueup.domain.judging.metrics import figure, loss_words, row_losses
from trueup.domain.monitoring.estimates.alarm import Alarm, Limit, limit_of
from trueup.domain.monitoring.estimates.check import gate_residuals, residual_check
from trueup.domain.monitoring.estimates.estimate import Estimate, EstimateCheck
from trueup.domain.types import Metric

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

MIN_ROWS = 200  # of the gate: fewer teach nothing
_BOOSTING = {"max_iter": 30, "learning_rate": 0.2, "max_leaf_nodes": 8, "min_samples_leaf": 10}


@dataclass(frozen=True)
class _Columns:
    """How features become numbers: categories by their place among the known ones, -1 for others."""

    names: tuple[str, ...]
    categories: dict[str, pd.Index[Any]]  # by column; columns without an entry are numbers

    @classmethod
    def of(cls, inputs: pd.DataFrame) -> _Columns:
        numbers = inputs.select_dtypes(["number", "bool"]).columns
        names = tuple(str(c) for c in inputs.columns)
        return cls(names, {c: pd.Index(inputs[c].dropna().unique()) for c in names if c not in numbers})

    def matrix(self, inputs: pd.DataFrame, p: Floats) -> Floats:
        """The features and the prediction (n, k + 1); infinite values as missing ones."""
        columns = [
            self.categories[c].get_indexer(pd.Index(inputs[c])).astype(np.float64)
            if c in self.categories
            else inputs[c].to_numpy(dtype=np.float64, na_value=np.nan)
            for c in self.names
        ]
        values = np.column_stack([*columns, p])
        return np.where(np.isfinite(values), values, np.nan)


@dataclass(frozen=True)
class _Level:
    """Realised by expected error on the gate, squared and absolute, and its number of rows."""

    squared: Interval
    absolute: Interval
    rows: int

    @classmethod
    def of(cls, losses: Floats, raw: Floats, blocks: Blocks, confidence: float) -> _Level:
        """From realised losses and the model's raw estimates (n,)."""
        both = ((losses, raw), (np.sqrt(losses), np.sqrt(raw)))
        squared, absolute = (sums_interval(blocks.sums(real), blocks.sums(said), confidence) for real, said in both)
        return cls(squared, absolute, len(losses))


@dataclass(frozen=True, eq=False)
class Dle:
    """The estimator of one champion of a regression, fitted on its gate's rows by `fit`, and never anew."""

    columns: _Columns
    models: tuple[HistGradientBoostingRegressor, HistGradientBoostingRegressor]  # fitted on either half of the gate
    level: _Level
    gate: tuple[Metric, ...]
    limits: tuple[Limit, Limit]  # of the loss, and of the loss as a share of the spread
    scale: float  # the gate's expected loss
    residuals: tuple[Interval, Interval]  # of squared and absolute errors
    block: timedelta
    confidence: float

    @classmethod
    def fit(
        cls,
        y: ArrayLike,
        p: ArrayLike,
        inputs: pd.DataFrame,
        event_time: ArrayLike,
        *,
        block: timedelta,
        confidence: float,
        seed: int,
        min_change: float,
    ) -> Dle:
        """Fit on labels and predictions (n,) of the rows that judged the champion, with their features (n rows).

        `event_time` (n,) is datetime64 without zone. `min_change` is the rise of the expected squared error, as a share of
        the gate's, that is worth an alarm. Raises ValueError if the rows do not suffice.
        """
        from sklearn.ensemble import (
            HistGradientBoostingRegressor,
        )  # takes seconds, and reading a result does not need it

        moments, predicted = np.asarray(event_time, dtype="datetime64[us]"), np.asarray(p, dtype=np.float64)
        losses = row_losses(Task.REGRESSION, y, predicted)
        known = np.isfinite(losses)
        if known.sum() < MIN_ROWS:
            raise ValueError(f"{known.sum()} rows judged the champion; {MIN_ROWS} are needed to learn its errors")
        if not losses[known].any():
            raise ValueError("the champion made no error on the rows that judged it")
        order = np.flatnonzero(known)[np.argsort(moments[known], kind="stable")]
        columns = _Columns.of(inputs.iloc[order])
        X, realised, used = columns.matrix(inputs, predicted)[order], losses[order], moments[order]
        half = len(order) // 2
        earlier, later = (
            HistGradientBoostingRegressor(loss="poisson", **_BOOSTING, early_stopping=False, random_state=seed).fit(
                X[part], _positive(realised[part])
            )
            for part in (slice(None, half), slice(half, None))
        )
        raw = np.concatenate([later.predict(X[:half]), earlier.predict(X[half:])])
        level = _Level.of(realised, raw, Blocks.of(used, block), confidence)
        expected = raw * level.squared.mean
        scale = float(expected.mean())
        limits = (
            limit_of(expected, np.full(len(order), scale), used, block, confidence, min_change),
            limit_of(expected, _spread(expected, predicted[order]), used, block, confidence, min_change),
        )
        residuals = (
            gate_residuals(expected, realised, used, block, confidence),
            gate_residuals(np.sqrt(raw) * level.absolute.mean, np.sqrt(realised), used, block, confidence),
        )
        shown = _metrics(raw, level, used, block, confidence)
        return cls(columns, (earlier, later), level, shown, limits, scale, residuals, block, confidence)

    def estimate(self, p: ArrayLike, inputs: pd.DataFrame, event_time: ArrayLike) -> Estimate:
        """Estimate the figures of a batch from its predictions (n,) and features (n rows).

        Rows without a prediction are left out. Raises ValueError if no row has one.
        """
        predicted, inputs, event_time, _ = _predicted(p, inputs, event_time)
        if not len(predicted):
            raise ValueError("no row has a prediction: nothing to estimate from")
        raw = self._raw(predicted, inputs)
        expected = raw * self.level.squared.mean
        metrics = _metrics(raw, self.level, event_time, self.block, self.confidence)
        loss = self.limits[0].judge(expected, np.full(len(raw), self.scale), event_time)
        share = self.limits[1].judge(expected, _spread(expected, predicted), event_time)
        worse = loss.worse and share.worse
        return Estimate("dle", len(raw), metrics, self.gate, worse, self._reason(metrics[0], loss, share))

    def check(self, y: ArrayLike, p: ArrayLike, inputs: pd.DataFrame, event_time: ArrayLike) -> EstimateCheck | None:
        """Compare the expected with the realised squared error of matured rows; None if they are too few.

        The estimate is also off if the absolute errors say so: they follow single rows less, and show a change earlier.
        """
        predicted, inputs, event_time, there = _predicted(p, inputs, event_time)
        if not len(predicted):
            return None
        raw, realised = self._raw(predicted, inputs), row_losses(Task.REGRESSION, np.asarray(y)[there], predicted)
        sides = (
            (loss_words(Task.REGRESSION), raw, realised, self.level.squared, self.residuals[0]),
            ("absolute error", np.sqrt(raw), np.sqrt(realised), self.level.absolute, self.residuals[1]),
        )
        squared, absolute = (
            residual_check(
                name,
                said * level.mean,
                real,
                event_time,
                at_gate,
                self.block,
                self.confidence,
                model_error=float(said.mean()) * level.error,
            )
            for name, said, real, level, at_gate in sides
        )
        if squared is None or absolute is None or squared.off or not absolute.off:
            return squared
        return replace(squared, off=True, words=absolute.words)

    def _raw(self, p: Floats, inputs: pd.DataFrame) -> Floats:
        X = self.columns.matrix(inputs, p)
        return np.asarray(sum(model.predict(X) for model in self.models) / 2, dtype=np.float64)

    def _reason(self, loss: Metric, judged: Alarm, share: Alarm) -> str:
        """The judgement in words."""
        most = judged.limit * self.scale
        words = f"expected {loss_words(Task.REGRESSION)} {figure(loss.value, 3)}, {figure(self.scale, 3)} at the gate"
        if not judged.worse:
            return f"{words}, within its limit {figure(most, 3)}"
        if not share.worse:
            return (
                f"{words}, above {figure(most, 3)}, but the predictions spread as well: {share.ratio:.1%} of the expected "
                f"spread of the outcomes is error, {share.gate:.1%} at the gate, the limit is {share.limit:.1%}"
            )
        return f"{words}, the limit is {figure(most, 3)}"


def _positive(losses: Floats) -> Floats:
    """Losses of which not all are 0, for a deviance that needs one above 0."""
    return losses if losses.any() else np.full(len(losses), np.finfo(np.float64).tiny)


def _predicted(
    p: ArrayLike, inputs: pd.DataFrame, event_time: ArrayLike
) -> tuple[Floats, pd.DataFrame, NDArray[Any], NDArray[np.bool_]]:
    """The rows that have a prediction, and which these are."""
    predicted = np.asarray(p, dtype=np.float64)
    there = np.isfinite(predicted)
    return predicted[there], inputs[there], np.asarray(event_time)[there], there


def _spread(expected: Floats, p: Floats) -> Floats:
    """The expected squared distance of each outcome from their mean: that of its prediction, and its expected error."""
    return np.asarray(expected + np.square(p - p.mean()))


def _metrics(
    raw: Floats, level: _Level, event_time: ArrayLike, block: timedelta, confidence: float
) -> tuple[Metric, ...]:
    """Expected mse, mae and rmse, each with the interval in which the realised one lies if the relation stays."""
    values = {"mse": (float(raw.mean()), level.squared), "mae": (float(np.sqrt(raw).mean()), level.absolute)}
    longer = max(level.rows / len(raw), level.squared.runs / Blocks.of(event_time, block).count)
    t = float(scipy.special.stdtrit(max(level.squared.runs - 1, 1.0), (1 + confidence) / 2))
    found = {}
    for name, (mean, by) in values.items():
        value, apart = mean * by.mean, mean * by.error * t * float(np.sqrt(1 + longer))
        found[name] = Metric(name, value, len(raw), max(value - apart, 0.0), value + apart, confidence)
    mse = found["mse"]
    low, high = (float(np.sqrt(bound)) for bound in (mse.low or 0.0, mse.high or 0.0))
    root = Metric("rmse", float(np.sqrt(mse.value)), len(raw), low, high, confidence)
    return (mse, found["mae"], root)
