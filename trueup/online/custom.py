"""The online form of a custom feature function, compared with the function itself before anything is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.config.own_code import load_function
from trueup.config.sections.features import FeaturesConfig
from trueup.config.sections.serving import ServeConfig
from trueup.errors import UsageError, WorkError
from trueup.model import Model
from trueup.online.fields import Kind, kind_of, plain

_ROWS: Final = 200  # of the newest batch

Online = Callable[[Mapping[str, Any]], Mapping[str, Any]]


def require_online_form(name: str, of: FeaturesConfig, serve: ServeConfig) -> None:
    """Raise UsageError for a custom feature function that takes whole batches only."""
    if of.custom and not serve.features:
        raise UsageError(
            f"{name}: features.custom ({of.custom}) takes whole batches, so a server cannot call it; write a function that "
            "takes one row as a dict and returns its features as a dict, and name it in serve.features"
        )


def require_same_values(model: Model, of: FeaturesConfig, serve: ServeConfig) -> None:
    """Compare the online form with the custom function on the newest landed rows.

    Raises UsageError, naming a feature and a row, if a value differs or the online form fails, and WorkError without a
    row to compare. Does nothing without a custom function.
    """
    if not of.custom or not serve.features:
        return
    rows = _newest_rows(model)
    offline = load_function(of.custom, model.home.configs)(rows.copy())
    online: Online = load_function(serve.features, model.home.configs)
    kinds = {str(column): kind_of(model, [of], str(column)) for column in rows}
    for position, (_, row) in enumerate(rows.iterrows()):
        given = {name: _given(row[name], kind) for name, kind in kinds.items()}
        expected = {str(name): _number(offline[name].iloc[position]) for name in offline}
        _compare(f"{model.config.model}: serve.features ({serve.features})", online, given, expected)


def _given(value: Any, kind: Kind) -> Any:
    """A value as a server gives it to the online form: times as datetimes, local to the model."""
    sent = plain(value, kind)
    return datetime.fromisoformat(sent) if kind == "time" and isinstance(sent, str) else sent


def _newest_rows(model: Model) -> pd.DataFrame:
    for batch in reversed(model.usable_batches(datetime.max)):
        there = [c for c in model.config.input_columns if c in model.home.store.columns(batch.rows)]
        rows = model.home.store.effective(batch.rows, there).tail(_ROWS)
        if len(rows):
            return rows
    raise WorkError(
        f"{model.config.model}: no landed row to compare serve.features with features.custom on; land a batch"
    )


def _compare(where: str, online: Online, given: dict[str, Any], expected: dict[str, float]) -> None:
    try:
        values = {str(name): _number(value) for name, value in online(dict(given)).items()}
    except Exception as error:  # of the user's own
        raise UsageError(f"{where} failed on {given}: {type(error).__name__}: {error}; fix the function") from error
    if values.keys() != expected.keys():
        raise UsageError(
            f"{where} returned {', '.join(sorted(values)) or 'nothing'}, and features.custom returns "
            f"{', '.join(sorted(expected))}; return the same names"
        )
    for name, value in expected.items():
        if not (values[name] == value or (math.isnan(values[name]) and math.isnan(value))):
            raise UsageError(
                f"{where} says {name} is {values[name]!r} where features.custom says {value!r}, for the row {given}; "
                "make both compute the same"
            )


def _number(value: Any) -> float:
    """A value as a float; NaN for a missing one. Raises TypeError or ValueError for what is no number."""
    return math.nan if value is None or value is pd.NA or value is pd.NaT else float(np.float64(value))
