"""The feature frame: the inputs of a model, computed the same way for training and for scoring."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.api import types as dtypes

from trueup.config.sections.features import FeaturesConfig
from trueup.domain.data.periods import FREQUENCY, Period
from trueup.domain.data.values import as_numbers, as_text
from trueup.domain.features.chunks import CHUNK, Rows, columns_with_values
from trueup.domain.features.history import history_features, history_names
from trueup.domain.types import EVENT_TIME, ROW_ID
from trueup.errors import WorkError

Custom = Callable[[pd.DataFrame], pd.DataFrame]

_CALENDAR: dict[str, Callable[[pd.Series[Any]], pd.Series[Any]]] = {
    "month": lambda times: times.dt.month,
    "day": lambda times: times.dt.day,
    "weekday": lambda times: times.dt.weekday,  # Monday is 0
    "hour": lambda times: times.dt.hour,
    "minute_of_day": lambda times: times.dt.hour * 60 + times.dt.minute,
    "day_of_year": lambda times: times.dt.dayofyear,
    "weekend": lambda times: (times.dt.weekday >= 5).where(times.notna()),
}


@dataclass(frozen=True)
class FeatureSchema:
    """The names of a model's features by kind. It is stored with the model, and scoring selects columns by it."""

    numeric: tuple[str, ...]
    categorical: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All features in the order of the feature frame, numeric ones first."""
        return self.numeric + self.categorical

    def without(self, names: Collection[str]) -> FeatureSchema:
        kept = ([n for n in kind if n not in names] for kind in (self.numeric, self.categorical))
        return FeatureSchema(*map(tuple, kept))


def feature_frame(
    rows: pd.DataFrame, past: pd.DataFrame, config: FeaturesConfig, custom: Custom | None = None
) -> pd.DataFrame:
    """Compute the features of landed rows.

    `past` has the earlier rows with their labels, for the history features (see `history_features`), and is ignored
    without them. `custom` is the function that `config.custom` names; it gets a copy of the rows, without labels.

    Returns, indexed like `rows`: `row_id`, `event_time`, then the features, numeric ones first (float64 as landed;
    float32 for calendar and history), categorical ones last (pandas categories of text). Missing stays missing. A row's
    features do not depend on the other rows, unless the custom function makes them.

    Raises WorkError if a column is missing or of the wrong kind, if two features have one name, or if the custom
    function fails or returns something invalid.
    """
    _check(rows, config)
    history = history_features(rows, past, config.history) if config.history else None
    return with_history(rows, history, config, custom)


def with_history(
    rows: pd.DataFrame, history: pd.DataFrame | None, config: FeaturesConfig, custom: Custom | None = None
) -> pd.DataFrame:
    """Compute the features of landed rows like `feature_frame`, given those of `history_features` in the same order.

    So the rows may be a part of a batch; those of a custom function are all, for it may look at other rows.
    """
    _check(rows, config)
    parts: dict[str, Any] = {ROW_ID: rows[ROW_ID], EVENT_TIME: rows[EVENT_TIME]}
    parts |= {
        name: rows[name] if rows[name].dtype == np.float32 else rows[name].astype(np.float64) for name in config.numeric
    }
    for column, wanted in config.calendar.items():
        parts |= {f"{column}_{part}": _CALENDAR[part](rows[column]).astype(np.float32) for part in wanted}
    if history is not None:
        parts |= {str(name): column.set_axis(rows.index) for name, column in history.items()}
    if custom is not None:
        parts |= _custom(rows, custom, f"features.custom: {config.custom}", taken={*parts, *config.categorical})
    parts |= {name: _category(rows[name]) for name in config.categorical}
    return pd.DataFrame(parts, index=rows.index, copy=False)


def schema_of(columns: Iterable[str], config: FeaturesConfig) -> FeatureSchema:
    """Derive the schema from the columns of a feature frame: the categorical features of the config, all others numeric."""
    numeric = [c for c in columns if c not in {ROW_ID, EVENT_TIME, *config.categorical}]
    return FeatureSchema(tuple(numeric), tuple(config.categorical))


def newest_batches(event_time: pd.Series[Any], period: Period, batches: int) -> NDArray[np.intp]:
    """The positions of the rows in the newest batches; none if there are no earlier ones.

    `event_time` (n,) are the rows' moments.
    """
    parts = (event_time.iloc[start : start + CHUNK] for start in range(0, len(event_time), CHUNK))
    periods = sorted({p for part in parts for p in part.dt.to_period(FREQUENCY[period]).unique()})
    if len(periods) <= batches:
        return np.empty(0, dtype=np.intp)
    return np.flatnonzero(event_time.to_numpy() >= periods[-batches].start_time.to_datetime64())


def without_values_lately(rows: Rows, late: Rows, names: Sequence[str]) -> tuple[str, ...]:
    """List the features without any value in the `late` ones of some rows, but with one in all of them.

    A model trained on the earlier values would expect them again.
    """
    if not len(late):
        return ()
    valued = columns_with_values(late, names)
    gone = [name for name in names if name not in valued]
    return tuple(sorted(columns_with_values(rows, gone), key=gone.index)) if gone else ()


def _check(rows: pd.DataFrame, config: FeaturesConfig) -> None:
    """Refuse rows or a config from which the features cannot be computed; history_features checks its own columns."""
    if lacking := [c for c in [*config.numeric, *config.categorical, *config.calendar] if c not in rows.columns]:
        raise WorkError(f"features: the landed rows lack {', '.join(lacking)}; select them in the source's query")
    if text := [c for c in config.numeric if not dtypes.is_numeric_dtype(rows[c])]:
        raise WorkError(
            f"features.numeric: {', '.join(text)} holds text; add it to ingest.coerce or to features.categorical"
        )
    if not_times := [c for c in config.calendar if not dtypes.is_datetime64_any_dtype(rows[c])]:
        raise WorkError(
            f"features.calendar: {', '.join(not_times)} does not hold times; convert it to a timestamp in the source's query"
        )
    calendar = [f"{column}_{part}" for column, parts in config.calendar.items() for part in parts]
    names = [ROW_ID, EVENT_TIME, *config.numeric, *config.categorical, *calendar, *history_names(config.history)]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise WorkError(f"features: {', '.join(twice)} is the name of more than one feature; rename or remove one")


def _category(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return the column as sorted categories of text, only those that occur."""
    codes, values = pd.factorize(column)
    distinct = pd.Categorical(as_text(pd.Series(values)))
    codes_of_rows: Any = np.append(distinct.codes, np.int8(-1))[codes]
    return pd.Series(pd.Categorical.from_codes(codes_of_rows, distinct.categories), index=column.index)


def _custom(rows: pd.DataFrame, function: Custom, where: str, taken: set[str]) -> dict[str, Any]:
    """Call the user's function and check its result."""
    try:
        result = function(rows.copy())
    except Exception as error:
        raise WorkError(f"{where} failed: {type(error).__name__}: {error}; fix the function") from error
    if not isinstance(result, pd.DataFrame):
        raise WorkError(f"{where} returned a {type(result).__name__}; return a DataFrame with the index of the rows")
    if not result.index.equals(rows.index):
        raise WorkError(
            f"{where} returned {len(result)} rows with another index than the {len(rows)} it got; return one row for "
            "each, with the same index in the same order"
        )
    names = [str(c) for c in result.columns]
    if doubled := sorted({n for n in names if n in taken or names.count(n) > 1}):
        raise WorkError(f"{where} returned {', '.join(doubled)}, which is already a feature; choose another name")
    numbers = {str(name): as_numbers(column) for name, column in result.items()}
    if text := [name for name, column in numbers.items() if column is None]:
        raise WorkError(f"{where} returned {', '.join(text)}, which is not numeric; return numbers only")
    floats = {name: column.astype(np.float64) for name, column in numbers.items() if column is not None}
    if infinite := [name for name, column in floats.items() if np.isinf(column).any()]:
        raise WorkError(f"{where} returned infinite values in {', '.join(infinite)}; return a missing value instead")
    return floats
