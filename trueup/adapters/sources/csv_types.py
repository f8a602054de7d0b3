"""The types of text columns: what every value of a column agrees on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from trueup.adapters.frames import one_chunk
from trueup.domain.landing import parse_times
from trueup.errors import SourceError

_WHOLE = r"^[+-]?(0|[1-9]\d{0,17})$"
_NO_NUMBER = r"^[+-]?0\d|^[+-]?\d{19,}$"  # codes such as 00123, and ids that a float cannot hold
_TRUTH = r"^(?i:true|false)$"
_TIME = r"^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?$"

# The same rules in DuckDB's SQL, from the narrowest type to the widest; text that passes none stays text.
CASTS: dict[str, Callable[[str], str]] = {
    "BIGINT": lambda column: f"regexp_matches({column}, '{_WHOLE}')",
    "DOUBLE": lambda column: (
        f"TRY_CAST({column} AS DOUBLE) IS NOT NULL AND NOT regexp_matches({column}, '{_NO_NUMBER}')"
    ),
    "BOOLEAN": lambda column: f"regexp_matches({column}, '{_TRUTH}')",
}


def cast_text(table: pa.Table, leave: Sequence[str], zone: str) -> pa.Table:
    """Give each text column the type that all of its values agree on; the columns in `leave` stay text."""
    text = {f.name for f in table.schema if pa.types.is_string(f.type) or pa.types.is_large_string(f.type)}
    columns = [_cast(table[n], zone) if n in text - set(leave) else table[n] for n in table.column_names]
    return pa.table(dict(zip(table.column_names, columns, strict=True)))


def _cast(column: pa.ChunkedArray, zone: str) -> pa.ChunkedArray | pa.Array:
    """Judge and convert each distinct value once."""
    encoded = one_chunk(column).dictionary_encode()
    values = _typed(encoded.dictionary, zone)
    return column if values is None else values.take(encoded.indices)


def _typed(texts: pa.Array, zone: str) -> pa.Array | None:
    """Convert distinct texts, or give None if they are just text."""
    if not len(texts):
        return None
    trimmed = pc.utf8_trim_whitespace(texts)
    if _all(trimmed, _WHOLE):
        return pc.cast(pc.replace_substring_regex(trimmed, r"^\+", ""), pa.int64())
    if _all(trimmed, _TRUTH):
        return pc.equal(pc.utf8_lower(trimmed), "true")
    if _all(trimmed, _TIME):
        try:
            return pa.array(parse_times(pd.Series(trimmed.to_pylist(), dtype=object), zone, ""))
        except SourceError:
            return None
    if pc.any(pc.match_substring_regex(trimmed, _NO_NUMBER)).as_py():
        return None
    try:
        return pc.cast(pc.replace_substring_regex(trimmed, r"^\+", ""), pa.float64())
    except pa.ArrowInvalid:
        return None


def _all(texts: pa.Array, pattern: str) -> bool:
    return bool(pc.all(pc.match_substring_regex(texts, pattern)).as_py())
