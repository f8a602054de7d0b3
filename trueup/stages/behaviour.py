"""Behaviour: the challenger predicts the gate rows with inputs changed as the configuration declares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.config.own_code import load_function
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import feature_frame
from trueup.domain.judging.gates.behaviour import Behaviour, BehaviourCheck, InvarianceCheck, Violations, measured
from trueup.domain.learning.learning import predict
from trueup.domain.types import ROW_ID, Batch
from trueup.errors import WorkError
from trueup.model import Model
from trueup.stages.features import Examples


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
    rows = model.home.store.effective([b.rows for b in used])
    if not model.config.features.custom:  # the function may use other rows of a batch
        rows = rows[rows[ROW_ID].isin(gate.row_id)]
    before = predict(fitted, gate.X, model.config.task, classes)
    violations = []
    for check in checks:
        moves, changed = list[Any](), np.zeros(len(gate.y))
        for column in _changed(check, rows[check.column], model.config.train.seed):
            other = rows.assign(**{check.column: column})
            after = predict(fitted, _features(model, other, gate), model.config.task, classes)
            moves.append(after - before if after.ndim == 1 else np.abs(after - before).sum(axis=1) / 2)
            changed = np.maximum(changed, _differs(rows, other, check.column, gate))
        # The largest change over several values counts; a direction check has one value.
        largest = np.abs(np.column_stack(moves)).max(axis=1) if isinstance(check, InvarianceCheck) else moves[0]
        violations.append(measured(check, largest, changed, gate.event_time, model.config.evaluate))
    return violations


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


def _differs(rows: pd.DataFrame, other: pd.DataFrame, column: str, gate: Examples) -> Any:
    """1 if a gate row's input has changed (n,)."""
    old, new = (frame[column].astype(object) for frame in (rows, other))
    moved = (old != new) & ~(old.isna() & new.isna())
    return moved.set_axis(rows[ROW_ID]).loc[gate.row_id].to_numpy(dtype=np.float64)


def _features(model: Model, rows: pd.DataFrame, gate: Examples) -> pd.DataFrame:
    """The gate rows' features in the model's order, recomputed from `rows` except those of history."""
    f = model.config.features
    custom = load_function(f.custom, model.home.configs) if f.custom else None
    plain = FeaturesConfig.model_construct(**{**dict(f), "history": []})  # there may be no other features
    made = feature_frame(rows, pd.DataFrame(), plain, custom).set_index(ROW_ID).loc[gate.row_id]
    new = {name: made[name].array for name in gate.X.columns if name in made.columns}
    return gate.X.assign(**new)
