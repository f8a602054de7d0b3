"""The kinds of a dataset's columns (declared, or recorded at the first landing), and conversion of later values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.moments import parse_times
from trueup.domain.data.outcome_values import LandedFacts
from trueup.domain.data.values import (
    NUL_SIGN,
    ColumnKind,
    as_booleans,
    as_integers,
    as_numbers,
    as_text,
    canonical_text,
    has_nul,
    is_time,
    kind_of,
    kind_of_text,
    numbers_of,
    retyped,
    settled,
)
from trueup.errors import SourceError


def declared_kinds(config: IngestConfig, numeric: Sequence[str]) -> dict[str, ColumnKind]:
    """The kinds of columns by the config: declared, or determined by their use."""
    kinds: dict[str, ColumnKind] = {
        **dict.fromkeys(config.key, "text"),
        **dict.fromkeys([*numeric, *config.coerce], "number"),
    }
    return {**kinds, **config.types, config.time: "time"}


def first_kinds(
    raw: pd.DataFrame, columns: Sequence[str], declared: Mapping[str, ColumnKind], landed: LandedFacts
) -> dict[str, ColumnKind]:
    """The kinds as declared and as earlier landings fixed them, and those of new `columns` by their values."""
    kinds = settled(declared, landed.kinds)
    for name in columns:
        if name not in landed.kinds and kinds.get(name) in {None, "text"} and name in raw:
            kind = kind_of(raw[name]) if name not in kinds else kind_of_text(raw[name])
            kinds |= {name: kind} if kind else {}
    return kinds


def carried(recorded: Mapping[str, ColumnKind], declared: Mapping[str, ColumnKind]) -> dict[str, ColumnKind]:
    """The recorded kinds, without those of columns with another kind in the config."""
    changed = {*retyped(declared, recorded)}
    return {name: kind for name, kind in recorded.items() if name not in changed}


def bring(column: pd.Series[Any], kind: ColumnKind, zone: str) -> pd.Series[Any] | None:
    """Convert a column to a kind without losing a digit. Returns None if a value does not fit."""
    if kind in {"text", "digits"}:
        return canonical_text(column, kind)
    if kind == "time":
        try:
            return parse_times(column, zone, "")
        except SourceError:
            return None
    return {"integer": as_integers, "number": as_numbers, "boolean": as_booleans}[kind](column)


def examples(column: pd.Series[Any], kind: ColumnKind, zone: str) -> list[str]:
    """Some values that do not fit a kind."""
    distinct = pd.Series(as_text(column).dropna().unique()[:1000], dtype=object)
    odd = [
        v
        for v in distinct
        if bring(pd.Series([v], dtype=object), "integer" if kind == "number" else kind, zone) is None
    ]
    return [str(v) for v in (odd or distinct)[:3]]


def rewritten(column: pd.Series[Any], kind: ColumnKind) -> dict[str, int]:
    """Count the values that are landed in another form than the source has: see `REWRITTEN`."""
    counts = {}
    if kind == "time":
        counts["finer"] = finer(column)
    elif kind in {"text", "digits"} and not dtypes.is_numeric_dtype(column):
        if dtypes.infer_dtype(column, skipna=True) in {"bytes", "mixed"}:
            counts["bytes"] = sum(isinstance(value, bytes | bytearray | memoryview) for value in column)
        text = as_text(column)
        counts["nul"] = int(text.str.contains("\0", regex=False, na=False).sum()) if has_nul(text) else 0
    return {name: count for name, count in counts.items() if count}


REWRITTEN: Final = {  # messages
    "finer": "{column}: {count:,} times are finer than a microsecond, and are cut to whole ones",
    "bytes": "{column}: {count:,} values are bytes and are written in hexadecimal digits; if they are text, decode them in "
    "the source's query",
    "nul": f"{{column}}: {{count:,}} texts hold a NUL character, which is written as {NUL_SIGN}",
}


def finer(column: pd.Series[Any]) -> int:
    """Count the times of a column that are finer than microseconds."""
    if not dtypes.is_datetime64_any_dtype(column) or getattr(column.dt, "unit", "us") != "ns":
        return 0
    return int((column.dt.nanosecond.fillna(0) != 0).sum())


def nested(column: pd.Series[Any]) -> bool:
    """Whether a column contains lists, structs or maps."""
    if column.dtype != object or dtypes.infer_dtype(column, skipna=True) != "mixed":
        return False
    return any(isinstance(value, list | tuple | dict | set | np.ndarray) for value in column)


def is_mixed(column: pd.Series[Any]) -> bool:
    """Whether a text column contains values of other types, too."""
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column
    return not is_time(column) and dtypes.infer_dtype(values, skipna=True) not in {"string", "empty", "bytes"}


def coerce(column: pd.Series[Any]) -> tuple[pd.Series[Any], dict[str, int]]:
    """Convert text to numbers. `parsed` counts the texts that are numbers, `failed` all other values."""
    numbers = numbers_of(as_text(column))
    text = np.fromiter((isinstance(value, str) for value in column), dtype=bool, count=len(column))
    failed = (numbers.isna() & column.notna()).to_numpy()
    return numbers, {"parsed": int((text & ~failed).sum()), "failed": int(failed.sum())}
