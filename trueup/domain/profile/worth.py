"""Which features earn their place: a quick model with and without them, learned on the earlier rows, asked about the later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy.stats import ks_2samp

from trueup.config.schema import FeaturesConfig, HistoryConfig, Task, write_duration
from trueup.domain.features import feature_frame, schema_of
from trueup.domain.history import history_names
from trueup.domain.learning import Recipe, build, class_names, predict
from trueup.domain.metrics import row_losses
from trueup.domain.profile.columns import Column
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID

_ROWS = 12_000
_EARLY = 0.4  # a first champion knows little of what comes
_GAIN = 0.002  # share of the loss that a feature must save on later rows
_MOVED = (
    0.3  # distance between the distributions of the earlier and the later rows from which a column tells the season
)
_KEYS = 5


@dataclass(frozen=True)
class Tried:
    """A choice, what it did to the loss on later rows (a share of it, negative is better), and whether it was taken."""

    what: str
    change: float
    taken: bool


@dataclass(frozen=True)
class Choice:
    """The features, what was tried, and the loss beside the prior's."""

    features: FeaturesConfig
    tried: tuple[Tried, ...]
    loss: float
    prior: float


class Judge:
    """Tells the loss of a choice of features on the later rows. Landed rows and labels, as `landing.split` gives them."""

    def __init__(self, rows: pd.DataFrame, labels: pd.DataFrame, task: Task) -> None:
        self._task = task
        self._past = labels.merge(rows.drop(columns=[EVENT_TIME]), on=ROW_ID)
        known = rows[rows[ROW_ID].isin(set(labels[ROW_ID]))].sort_values(EVENT_TIME)
        self._rows = known.iloc[:: max(len(known) // _ROWS, 1)].reset_index(drop=True)
        found = labels.set_index(ROW_ID).loc[self._rows[ROW_ID]]
        self._y, self._known_at = found[LABEL].reset_index(drop=True), found[KNOWN_AT].reset_index(drop=True)
        cut = self._rows[EVENT_TIME].iloc[int(len(self._rows) * _EARLY)] if len(self._rows) else None
        self._late = (self._rows[EVENT_TIME] >= cut).to_numpy() if cut is not None else np.zeros(0, bool)
        self._early = ~self._late & (self._known_at <= cut).to_numpy() if cut is not None else self._late

    @property
    def enough(self) -> bool:
        """Whether there is something to learn from and something to be asked about."""
        several = self._task is Task.REGRESSION or self._y[self._early].nunique() > 1
        return bool(self._early.sum() >= 40 and self._late.sum() >= 30 and several)

    def losses(self, features: FeaturesConfig) -> Any:
        """The loss of each later row."""
        frame = feature_frame(self._rows, self._past, features)
        schema = schema_of(frame, features)
        X = frame[list(schema.names)]
        # A history shorter than the outcome's delay holds nothing yet; scikit-learn cannot bin a column without a value.
        empty = [n for n in schema.names if is_numeric_dtype(X[n]) and X[n][self._early].isna().all()]
        X = X.assign(**dict.fromkeys(empty, 0.0))
        leaf = max(int(self._early.sum()) // 100, 5)
        recipe = Recipe(
            "gradient_boosting",
            {"max_iter": 60, "learning_rate": 0.1, "max_leaf_nodes": 15, "min_samples_leaf": leaf},
        )
        model = build(recipe, schema, self._task).fit(X[self._early], self._y[self._early])
        said = predict(model, X[self._late], self._task)
        return row_losses(self._task, self._y[self._late], said, class_names(self._task, model))

    def prior(self) -> float:
        """The loss of always saying what was usual before."""
        early, late = self._y[self._early], self._y[self._late]
        if self._task is Task.REGRESSION:
            return float(((late - early.mean()) ** 2).mean())
        share = early.value_counts(normalize=True)
        return float(-np.log(late.map(share).fillna(1e-6).clip(1e-6)).mean())

    def moved(self, columns: Sequence[str]) -> list[str]:
        """Columns that lie elsewhere in one quarter of the time than in the one before it."""
        quarter = np.arange(len(self._rows)) * 4 // max(len(self._rows), 1)
        parts = {c: [self._rows[c][quarter == q].dropna() for q in range(4)] for c in columns}
        pairs = {c: [(a, b) for a, b in pairwise(p) if len(a) and len(b)] for c, p in parts.items()}
        return [c for c in columns if any(ks_2samp(a, b, method="asymp").statistic > _MOVED for a, b in pairs[c])]


def choose(
    judge: Judge,
    base: FeaturesConfig,
    columns: dict[str, Column],
    keys: Sequence[str],
    task: Task,
    windows: Sequence[timedelta],
) -> Choice:
    """Start from what there is; take a history that helps on later rows, and leave out what tells the season if that does not hurt."""
    best, loss = base, judge.losses(base)
    tried: list[Tried] = []
    for name in judge.moved(base.numeric):
        rest = [c for c in best.numeric if c != name]
        if not rest and not best.categorical:
            continue
        without = best.model_copy(update={"numeric": rest})
        found = judge.losses(without)
        change = float(found.mean() / loss.mean() - 1)
        taken = change < 0
        tried.append(
            Tried(f"without {name}, which lies elsewhere from one quarter of the time to the next", change, taken)
        )
        best, loss = (without, found) if taken else (best, loss)
    for history in _histories(columns, keys, task, windows):
        with_it = best.model_copy(update={"history": [*best.history, history]})
        if _taken(best, history):
            continue
        found = judge.losses(with_it)
        change = float(found.mean() / loss.mean() - 1)
        taken = change < -_GAIN
        tried.append(Tried(f"history by {_said(history)}", change, taken))
        best, loss = (with_it, found) if taken else (best, loss)
    return Choice(_merged(best), tuple(tried), float(loss.mean()), judge.prior())


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


def _said(history: HistoryConfig) -> str:
    return " and ".join(k if isinstance(k, str) else " × ".join(k) for k in history.by)


def _taken(features: FeaturesConfig, history: HistoryConfig) -> bool:
    return bool({*history_names(features.history)} & {*history_names([history])})


def _merged(features: FeaturesConfig) -> FeaturesConfig:
    """One entry for all keys that were taken."""
    if not features.history:
        return features
    by = [key for history in features.history for key in history.by]
    return features.model_copy(update={"history": [features.history[0].model_copy(update={"by": by})]})
