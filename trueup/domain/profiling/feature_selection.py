"""Selects useful features: a quick model with and without them, retrained like the loop and evaluated on later rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations, pairwise
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import ks_2samp
from sklearn.pipeline import Pipeline

from trueup.config.durations import write_duration
from trueup.config.sections.features import FeaturesConfig, HistoryConfig
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema, feature_frame, schema_of
from trueup.domain.features.history import history_names
from trueup.domain.judging.bootstrap import Interval, paired_interval
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import build, class_names, predict
from trueup.domain.learning.recipe import Recipe
from trueup.domain.profiling.columns import Column
from trueup.domain.profiling.period import Power
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID

_ROWS = 12_000
_MOST_ROWS = 60_000  # if one of two outcomes is rare
_RARE = 300  # rows of the rarer outcome to keep, if there are so many
_EARLY = 0.4  # share of the time before the first fit
_FOLDS = (3, 8)  # how often the quick model is refitted, at least and at most
_GAIN = 0.002  # share of the loss that a feature must save on later rows
_CLEAR = 0.02  # share that a trailing window must save, because it discards data
_MONTHS = (24, 12, 6, 3, 2, 1)  # of trailing windows, the longest first
_FEWEST = 200  # sampled rows that a trailing window must have
_SURE = 1.28  # standard errors that it must save, too (one-sided 90 %)
_MOSTLY = 2 / 3  # share of folds that must be better
_MOVED = 0.3  # distance between the distributions of consecutive quarters from which a column is tried
_MOST = 8  # columns to try, those that moved most
_KEYS = 5


@dataclass(frozen=True)
class Tried:
    """A choice, the change of the loss on later rows (as a share, negative is better), and whether it was accepted."""

    what: str
    change: float
    taken: bool
    months: int | None = None  # for a trailing window of training


@dataclass(frozen=True)
class Choice:
    """The features, what was tried, the loss beside the prior's, and what a gate could show, if there are enough rows.

    `window` is the trailing part of the history to train on, in months; None for all of it.
    """

    features: FeaturesConfig
    tried: tuple[Tried, ...]
    loss: float
    prior: float
    power: Power | None = None
    window: int | None = None


class Judge:
    """Measures the loss of a choice of features on later rows. Takes landed rows and labels from `landing.split`.

    The later rows are cut into folds of equal time. Each is judged by a model that was fitted on all that was known
    when it began, like the loop's retrains; a single fit would reject every column that moves. `every` is the loop's
    interval of retrains, `block` the block of time.
    """

    def __init__(
        self, rows: pd.DataFrame, labels: pd.DataFrame, task: Task, every: timedelta, block: timedelta
    ) -> None:
        self._task, self._block = task, block
        self._past = labels.merge(rows.drop(columns=[EVENT_TIME]), on=ROW_ID)
        labelled = labels.set_index(ROW_ID)[[LABEL, KNOWN_AT]]
        with_label = rows[rows[ROW_ID].isin(labelled.index)].sort_values(EVENT_TIME)
        step = _step(labelled.loc[with_label[ROW_ID], LABEL], task)
        self._rows = with_label.iloc[::step].reset_index(drop=True)
        mine = labelled.loc[self._rows[ROW_ID]]
        self._y, self._known_at = mine[LABEL].reset_index(drop=True), mine[KNOWN_AT].reset_index(drop=True)
        self._when = self._rows[EVENT_TIME]
        self._folds = list(self._cut(every)) if len(self._rows) else []

    def _cut(self, every: timedelta) -> Iterator[tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]:
        """The training and test rows of each fit."""
        first, last = self._when.iloc[int(len(self._when) * _EARLY)], self._when.iloc[-1] + pd.Timedelta(1, "us")
        count = int(np.clip(ceil((last - first) / every), *_FOLDS))
        cuts = [first + (last - first) * n / count for n in range(count + 1)]
        self._starts, self._ends = cuts[:-1], cuts[-1]
        for cut, end in pairwise(cuts):
            train = ((self._when < cut) & (self._known_at <= cut)).to_numpy()
            yield train, ((self._when >= cut) & (self._when < end)).to_numpy()

    @property
    def enough(self) -> bool:
        if not self._folds:
            return False
        early, late = self._folds[0][0], sum(int(test.sum()) for _, test in self._folds)
        several = self._task is Task.REGRESSION or self._y[early].nunique() > 1
        return bool(early.sum() >= 40 and late >= 30 and several)

    def losses(self, features: FeaturesConfig, window: int | None = None) -> pd.Series[Any]:
        """The loss of each later row, in order of time, with training on the trailing `window` of months, or on all."""
        X, schema = self._inputs(features)
        fits = (self._fit(X, schema, self._trailing(k, window)) for k in range(len(self._folds)))
        parts = [self._losses(fit, X, test) for fit, (_, test) in zip(fits, self._folds, strict=True)]
        losses: pd.Series[Any] = pd.concat(parts)
        return losses

    @property
    def trailing(self) -> list[int]:
        """Windows in months that leave out known rows in most folds, and have enough rows in all of them."""
        first, at = self._when.iloc[0], range(len(self._folds))
        return [
            months
            for months in _MONTHS
            if np.mean([cut - pd.DateOffset(months=months) > first + (cut - first) / 4 for cut in self._starts])
            >= _MOSTLY
            and min(int(self._trailing(k, months).sum()) for k in at) >= _FEWEST
        ]

    def _trailing(self, fold: int, window: int | None) -> npt.NDArray[np.bool_]:
        train = self._folds[fold][0]
        if window is None:
            return train
        since = self._starts[fold] - pd.DateOffset(months=window)
        return np.asarray(train & (self._when >= since).to_numpy())

    def power(self, features: FeaturesConfig, loss: float, window: int | None = None) -> Power | None:
        """The gain of a retrain that a gate could show, from each model's loss minus the previous model's on the same rows."""
        X, schema = self._inputs(features)
        models = [self._fit(X, schema, self._trailing(k, window)) for k in range(len(self._folds))]
        pairs = zip(pairwise(models), self._folds[1:], strict=True)
        gains = [self._losses(new, X, test) - self._losses(old, X, test) for (old, new), (_, test) in pairs]
        gains = [differences for differences in gains if len(differences)]
        # By fold: differences between retrains are not noise of a gate.
        errors = np.array([self.bounded(differences).error for differences in gains])
        if not loss or not len(errors) or not np.isfinite(errors).all():
            return None
        gained = -float(pd.concat(gains).mean()) / loss
        error = float(np.sqrt((errors**2).sum())) / len(errors) / loss
        every = self._starts[1] - self._starts[0]
        return Power(gained, error, self._ends - self._starts[1], every)

    def by_fold(self, losses: pd.Series[Any]) -> pd.Series[Any]:
        return pd.Series([losses[np.flatnonzero(test)].mean() for _, test in self._folds if test.any()])

    def bounded(self, differences: pd.Series[Any]) -> Interval:
        """Bound the mean of differences of losses, by row, over blocks of time."""
        return paired_interval(differences, self._when[differences.index], self._block)

    def prior(self) -> float:
        return float(np.concatenate([self._usual(train, test) for train, test in self._folds]).mean())

    def _usual(self, train: npt.NDArray[np.bool_], test: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        early, late = self._y[train], self._y[test]
        if self._task is Task.REGRESSION:
            return ((late - early.mean()) ** 2).to_numpy(float)
        share = early.value_counts(normalize=True)
        return np.asarray(-np.log(late.map(share).astype(float).fillna(1e-6).clip(1e-6)))

    def _inputs(self, features: FeaturesConfig) -> tuple[pd.DataFrame, FeatureSchema]:
        frame = feature_frame(self._rows, self._past, features)
        schema = schema_of(map(str, frame.columns), features)
        return frame[list(schema.names)], schema

    def _fit(
        self, X: pd.DataFrame, schema: FeatureSchema, train: npt.NDArray[np.bool_]
    ) -> tuple[Pipeline, pd.DataFrame]:
        """Fit a model on the known rows, and return the inputs without empty columns."""
        # A history shorter than the outcome's delay is still empty; scikit-learn cannot bin an empty column.
        empty = [n for n in schema.names if is_numeric_dtype(X[n]) and X[n][train].isna().all()]
        X = X.assign(**dict.fromkeys(empty, 0.0))
        leaf = max(int(train.sum()) // 100, 5)
        recipe = Recipe(
            "gradient_boosting",
            {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": leaf},
        )
        return build(recipe, schema, self._task).fit(X[train], self._y[train]), X

    def _losses(
        self, fitted: tuple[Pipeline, pd.DataFrame], X: pd.DataFrame, test: npt.NDArray[np.bool_]
    ) -> pd.Series[Any]:
        model, X = fitted
        if not test.any():
            return pd.Series(dtype=float)
        predictions = predict(model, X[test], self._task)
        losses = row_losses(self._task, self._y[test], predictions, class_names(self._task, model))
        return pd.Series(losses, index=self._y.index[test])

    def moved(self, columns: Sequence[str]) -> list[str]:
        """Columns that differ between consecutive quarters of the time, the largest difference first."""
        quarter = np.arange(len(self._rows)) * 4 // max(len(self._rows), 1)
        parts = {c: [self._rows[c][quarter == q].dropna() for q in range(4)] for c in columns}
        pairs = {c: [(a, b) for a, b in pairwise(p) if len(a) and len(b)] for c, p in parts.items()}
        far = {c: max((ks_2samp(a, b, method="asymp").statistic for a, b in pairs[c]), default=0.0) for c in columns}
        return sorted((c for c in columns if far[c] > _MOVED), key=lambda c: -far[c])


def _step(labels: pd.Series[Any], task: Task) -> int:
    """The sampling step of rows: smaller if one of the outcomes is rare."""
    most = _ROWS
    if task is not Task.REGRESSION and len(labels):
        rare = max(int(labels.value_counts().min()), 1)
        most = int(np.clip(_RARE / rare * len(labels), _ROWS, _MOST_ROWS))
    return max(len(labels) // most, 1)


def choose(
    judge: Judge,
    base: FeaturesConfig,
    columns: dict[str, Column],
    keys: Sequence[str],
    task: Task,
    windows: Sequence[timedelta],
) -> Choice:
    """Select features: add history features that help on later rows, drop columns that hurt, and shorten the window.

    Each step must be shown to lower the loss, the window clearly, because a loop starts with all of the history. Only
    columns that move over time are tried, because others seldom hurt.
    """
    best, loss = base, judge.losses(base)
    tried: list[Tried] = []
    for name in judge.moved(base.numeric)[:_MOST]:
        rest = [c for c in best.numeric if c != name]
        if not rest and not best.categorical:
            continue
        without = best.model_copy(update={"numeric": rest})
        new_loss = judge.losses(without)
        change, taken = _better(judge, new_loss, loss)
        tried.append(Tried(f"without {name}, which moves in time", change, taken))
        best, loss = (without, new_loss) if taken else (best, loss)
    for history in _histories(columns, keys, task, windows):
        with_it = best.model_copy(update={"history": [*best.history, history]})
        if {*history_names(best.history)} & {*history_names([history])}:
            continue
        new_loss = judge.losses(with_it)
        change, taken = _better(judge, new_loss, loss)
        words = " and ".join(k if isinstance(k, str) else " × ".join(k) for k in history.by)
        tried.append(Tried(f"history by {words}", change, taken))
        best, loss = (with_it, new_loss) if taken else (best, loss)
    trailing: int | None = None
    for months in judge.trailing:
        new_loss = judge.losses(best, months)
        change, taken = _better(judge, new_loss, loss, _CLEAR if trailing is None else 0.0)
        tried.append(Tried(f"only the last {months} month{'s' * (months > 1)}", change, taken, months))
        trailing, loss = (months, new_loss) if taken else (trailing, loss)
    mean = float(loss.mean())
    return Choice(_merged(best), tuple(tried), mean, judge.prior(), judge.power(best, mean, trailing), trailing)


def _better(judge: Judge, new_loss: pd.Series[Any], loss: pd.Series[Any], least: float = _GAIN) -> tuple[float, bool]:
    """The relative change of the loss, and whether an improvement is shown: in most folds, by more than they differ.

    So a single upheaval, after which a loop retrains, does not drop a column that is good before and after it.
    """
    usual = float(loss.mean())
    folds = judge.by_fold(new_loss - loss)
    change = float((new_loss - loss).mean())
    error = float(folds.std() / np.sqrt(len(folds))) if len(folds) > 1 else np.inf
    shown = change < -max(least * usual, _SURE * error) and float((folds < 0).mean()) >= _MOSTLY
    return change / usual if usual else 0.0, shown


def _histories(
    columns: dict[str, Column], keys: Sequence[str], task: Task, windows: Sequence[timedelta]
) -> Iterator[HistoryConfig]:
    """Rates of the outcome by a key, and by two together; a multiclass outcome has no mean."""
    if task is Task.MULTICLASS:
        return
    chosen = sorted(keys, key=lambda k: -columns[k].distinct)[:_KEYS]
    spans = [write_duration(w) for w in windows]
    for by in [*([k] for k in chosen), *(list(pair) for pair in combinations(chosen[:4], 2))]:
        named: Any = by if len(by) > 1 else by[0]
        yield HistoryConfig(name="rate", of="label", by=[named], windows=spans, counts=False)


def _merged(features: FeaturesConfig) -> FeaturesConfig:
    if not features.history:
        return features
    by = [key for history in features.history for key in history.by]
    return features.model_copy(update={"history": [features.history[0].model_copy(update={"by": by})]})
