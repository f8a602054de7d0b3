"""Types text columns by all of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trueup.adapters.parquet import one_chunk
from trueup.domain.data.moments import parse_times
from trueup.domain.data.patterns import NO_NUMBER, TIME, TRUTH, WHOLE
from trueup.errors import SourceError


class _Type(NamedTuple):
    """A type in DuckDB's SQL: whether a text is of it, and the cast."""

    holds: Callable[[str], str]
    cast: Callable[[str], str]
    exact: bool = True  # whether the text can be restored from it


_BIGINT = _Type(lambda c: f"regexp_matches({c}, '{WHOLE}')", lambda c: f"TRY_CAST({c} AS BIGINT)")
_BOOLEAN = _Type(lambda c: f"regexp_matches({c}, '{TRUTH}')", lambda c: f"TRY_CAST({c} AS BOOLEAN)")
_DOUBLE = _Type(
    lambda c: f"TRY_CAST({c} AS DOUBLE) IS NOT NULL AND NOT regexp_matches({c}, '{NO_NUMBER}')",
    lambda c: f"TRY_CAST({c} AS DOUBLE)",
    exact=False,
)
_DOUBLE_WITH_COMMA = _Type(
    lambda c: f"{_DOUBLE.holds(_with_point(c))} AND NOT contains({c}, '.')",
    lambda c: _DOUBLE.cast(_with_point(c)),
    exact=False,
)

# The rules of `_typed` for DuckDB, by decimal point, from the narrowest type to the widest; other text stays text.
TYPES = {".": (_BIGINT, _DOUBLE, _BOOLEAN), ",": (_BIGINT, _DOUBLE_WITH_COMMA, _BOOLEAN)}


def _with_point(column: str) -> str:
    return f"replace({column}, ',', '.')"


def cast_text(
    table: pa.Table, leave: Sequence[str], zone: str, decimal: str = ".", decide: npt.NDArray[np.bool_] | None = None
) -> pa.Table:
    """Cast each text column to the type that all of its values agree on; the columns in `leave` stay text.

    The rows of `decide` choose the types; values of other rows that are not of the type become missing. With a comma as
    `decimal`, values with a point stay text: it may separate thousands.
    """
    text = {f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}
    rows = None if decide is None or decide.all() else np.flatnonzero(decide)
    columns = [_cast(table[n], zone, decimal, rows) if n in text - set(leave) else table[n] for n in table.column_names]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _cast(
    column: pa.ChunkedArray, zone: str, decimal: str, rows: npt.NDArray[np.intp] | None
) -> pa.ChunkedArray | pa.Array:
    """Cast each distinct value once."""
    encoded = one_chunk(column).dictionary_encode()
    if rows is None:
        values = _typed(encoded.dictionary, zone, decimal)
        return column if values is None else values.take(encoded.indices)
    used = pc.unique(encoded.indices.take(pa.array(rows))).drop_null()
    values = _typed(encoded.dictionary.take(used), zone, decimal)
    if values is None:
        return column
    places = np.full(len(encoded.dictionary), -1)
    places[used.to_numpy()] = np.arange(len(used))
    return values.take(pa.array(places, mask=places < 0)).take(encoded.indices)


def _typed(texts: pa.Array, zone: str, decimal: str) -> pa.Array | None:
    """Distinct texts as values; None where they are just text."""
    if not len(texts):
        return None
    trimmed = pc.utf8_trim_whitespace(texts)
    if _all(trimmed, WHOLE):
        return pc.cast(pc.replace_substring_regex(trimmed, r"^\+", ""), pa.int64())
    if _all(trimmed, TRUTH):
        return pc.equal(pc.utf8_lower(trimmed), "true")
    if _all(trimmed, TIME):
        try:
            return pa.array(parse_times(pd.Series(trimmed.to_pylist(), dtype=object), zone, ""))
        except SourceError:
            return None
    if decimal == ",":
        if pc.any(pc.match_substring(trimmed, ".")).as_py():
            return None
        trimmed = pc.replace_substring(trimmed, ",", ".")
    if pc.any(pc.match_substring_regex(trimmed, NO_NUMBER)).as_py():
        return None
    try:
        return pc.cast(pc.replace_substring_regex(trimmed, r"^\+", ""), pa.float64())
    except pa.ArrowInvalid:
        return None


def _all(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())
