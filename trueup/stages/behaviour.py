"""Behaviour: the challenger predicts the gate rows with inputs changed as the configuration declares."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.config.own_code import load_function
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import feature_frame
from trueup.domain.judging.gates.behaviour import Behaviour, BehaviourCheck, InvarianceCheck, Violations, measured
from trueup.domain.learning.learning import pieces, predict
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.errors import WorkError
from trueup.model import Model
from trueup.stages.features import Examples


@dataclass(frozen=True, eq=False)
class _Change:
    """One change of a column: its values for the gate rows, and the features that follow from a range of them."""

    values: pd.Series[Any]
    features: Callable[[slice], pd.DataFrame]


@dataclass(frozen=True, eq=False)
class _Made:
    """A check with its column as landed for the gate rows, and its changes: one per value."""

    check: BehaviourCheck
    landed: pd.Series[Any]
    changes: list[_Change]


def behaviour(
    model: Model, fitted: Pipeline, gate: Examples, used: list[Batch], classes: list[str] | None
) -> list[Violations]:
    """Make every declared change and count its violations; `used` are the batches of the gate rows.

    Features are computed again from the changed landed columns, except history features, which describe other rows.
    Raises WorkError for a value that its column cannot have.
    """
    checks = [check for gate in model.config.promote.gates if isinstance(gate, Behaviour) for check in gate.checks]
    if not checks:
        return []
    if model.config.features.custom:
        rows = model.home.store.effective([b.rows for b in used])
        return [
            v for c in checks for v in _measured(model, fitted, gate, [_with_custom(model, c, rows, gate)], classes)
        ]
    ids = model.home.store.effective([b.rows for b in used], [ROW_ID])[ROW_ID]
    return _measured(model, fitted, gate, [_made(model, c, ids, used, gate) for c in checks], classes)


def _measured(
    model: Model, fitted: Pipeline, gate: Examples, made: list[_Made], classes: list[str] | None
) -> list[Violations]:
    """Predict the gate rows with every change, in one reading of their features, and count the violations."""
    task, start = model.config.task, 0
    moved, changed = (np.zeros((len(made), len(gate.y))) for _ in range(2))
    for piece in pieces([fitted], gate.inputs, task):
        rows = slice(start, start := start + len(piece))
        before = predict(fitted, piece, task, classes)
        for number, one in enumerate(made):
            moves = []
            for change in one.changes:
                new = change.features(rows)
                other = piece.assign(**{name: new[name].array for name in piece.columns if name in new.columns})
                after = predict(fitted, other, task, classes)
                moves.append(after - before if after.ndim == 1 else np.abs(after - before).sum(axis=1) / 2)
                differs = _differs(one.landed.iloc[rows], change.values.iloc[rows])
                changed[number, rows] = np.maximum(changed[number, rows], differs)
            # The largest change over several values counts; a direction check has one value.
            invariance = isinstance(one.check, InvarianceCheck)
            moved[number, rows] = np.abs(np.column_stack(moves)).max(axis=1) if invariance else moves[0]
    return [
        measured(one.check, moved[number], changed[number], gate.event_time, model.config.evaluate)
        for number, one in enumerate(made)
    ]


def _made(model: Model, check: BehaviourCheck, ids: pd.Series[Any], used: list[Batch], gate: Examples) -> _Made:
    """A check of a column; the features that depend on it need no other column. `ids` are those of the batches' rows."""
    column = model.home.store.effective([b.rows for b in used], [check.column])[check.column]
    kept = ids.isin(gate.row_id).to_numpy()
    column, places = column[kept], pd.Index(ids[kept]).get_indexer(pd.Index(gate.row_id))
    of = _depending_on(check.column, model.config.features)

    def change(values: pd.Series[Any]) -> _Change:
        return _Change(values, lambda rows: _features(check.column, values.iloc[rows], gate, rows, of))

    changed = _changed(check, column, model.config.train.seed)
    return _Made(check, column.iloc[places], [change(pd.Series(values).iloc[places]) for values in changed])


def _with_custom(model: Model, check: BehaviourCheck, rows: pd.DataFrame, gate: Examples) -> _Made:
    """A check with a custom function, which may use the batches' other columns and rows."""
    f, places = model.config.features, pd.Index(rows[ROW_ID]).get_indexer(pd.Index(gate.row_id))
    custom = load_function(f.custom, model.home.configs) if f.custom else None

    def change(values: pd.Series[Any]) -> _Change:
        other = rows.assign(**{check.column: values})
        features = feature_frame(other, pd.DataFrame(), _without_history(f), custom).iloc[places]
        return _Change(other[check.column].iloc[places], lambda part: features.iloc[part])

    changed = _changed(check, rows[check.column], model.config.train.seed)
    return _Made(check, rows[check.column].iloc[places], [change(values) for values in changed])


def _changed(check: BehaviourCheck, column: pd.Series[Any], seed: int) -> list[Any]:
    """The changed column: one version per value. Missing values stay missing, unless a value is set."""
    if not isinstance(check, InvarianceCheck):
        return [column + check.raise_by]
    if check.shift is not None:
        return [column + check.shift]
    if check.shuffle:
        return [column.to_numpy()[np.random.default_rng(seed).permutation(len(column))]]
    return [
        pd.Series([_as_type_of_column(value, column, check)] * len(column), index=column.index) for value in check.to
    ]


def _as_type_of_column(value: Any, column: pd.Series[Any], check: InvarianceCheck) -> Any:
    """A value converted to its column's type."""
    try:
        if pd.api.types.is_datetime64_any_dtype(column):
            return pd.Timestamp(str(value))
        return float(value) if pd.api.types.is_numeric_dtype(column) else str(value)
    except ValueError:
        raise WorkError(
            f"promote.gates: {check.column} holds {column.dtype}, so it cannot be set to {value!r}; correct `to`"
        ) from None


def _differs(old: pd.Series[Any], new: pd.Series[Any]) -> Any:
    """1 if a row's input has changed (n,)."""
    if all(pd.api.types.is_numeric_dtype(column) for column in (old, new)):
        was, now = (column.to_numpy(dtype=np.float64, na_value=np.nan) for column in (old, new))
    else:
        was, now = (column.to_numpy(dtype=object) for column in (old, new))
    return np.asarray((was != now) & ~(pd.isna(was) & pd.isna(now)), dtype=np.float64)


def _features(column: str, values: pd.Series[Any], gate: Examples, rows: slice, of: FeaturesConfig) -> pd.DataFrame:
    """The features of a range of the gate rows that depend on a column with these values."""
    landed = {ROW_ID: gate.row_id.iloc[rows].array, EVENT_TIME: gate.event_time.iloc[rows].array, column: values.array}
    return feature_frame(pd.DataFrame(landed), pd.DataFrame(), of)


def _depending_on(column: str, of: FeaturesConfig) -> FeaturesConfig:
    """The declared features of one column alone."""
    chosen = {
        "numeric": [name for name in of.numeric if name == column],
        "categorical": [name for name in of.categorical if name == column],
        "calendar": {name: parts for name, parts in of.calendar.items() if name == column},
    }
    return FeaturesConfig.model_construct(**{**dict(_without_history(of)), **chosen})


def _without_history(of: FeaturesConfig) -> FeaturesConfig:
    return FeaturesConfig.model_construct(**{**dict(of), "history": []})  # there may be no other features
