"""Values and types of columns: one text for each value, whatever type it arrives as, without losing a digit.

A column has one type for a dataset's whole life (`ColumnKind`). It is declared, determined by the column's use, or taken from
the first batch with values. Later values are converted to it, and values that do not fit are listed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, time
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import ColumnType

ColumnKind = Literal[ColumnType, "digits"]  # `digits`: text of whole numbers only
EXACT: Final = 2**53  # largest integer up to which float64 is exact

NUL_SIGN: Final = "\u2400"

_INT64: Final = 2.0**63
_NUMBERS: Final = {"integer", "floating", "mixed-integer-float", "decimal", "boolean", "empty"}
_TIMES: Final = {"datetime", "datetime64", "date"}
_TRUTHS: Final = {"True": "true", "TRUE": "true", "False": "false", "FALSE": "false"}
_WHOLE: Final = r"[+-]?(?:0|[1-9]\d*)(?:\.0+)?"
_WITH_POINT: Final = r"[+-]?(?:0|[1-9]\d*)\.0+"
_JOINED: Final = 65_536  # texts that are searched together
_WHOLE_NUMBER: Final = r"0|-?[1-9]\d{0,18}"


def as_text(column: pd.Series[Any]) -> pd.Series[Any]:
    """Convert a column to text (object; missing stays missing), the same for a value of any type.

    1.0 and a decimal 1.00 become "1". A boolean becomes "true" or "false", also if it arrives as the text True. A date
    becomes its midnight.

    >>> as_text(pd.Series([1, 2.5, None, "1", True, "TRUE"], dtype=object)).tolist()
    ['1', '2.5', None, '1', 'true', 'true']
    """
    if column.dtype == object:
        if dtypes.infer_dtype(column, skipna=True) == "string":
            truths = column.isin(list(_TRUTHS))
            return column.where(~truths, column.map(_TRUTHS)) if truths.any() else column
        texts = [None if missing else text_of(value) for value, missing in zip(column, column.isna(), strict=True)]
        return pd.Series(texts, index=column.index, name=column.name, dtype=object)
    codes, values = pd.factorize(column)  # each distinct value is converted once
    distinct = np.array([*map(text_of, values), None], dtype=object)
    return pd.Series(distinct[codes], index=column.index, name=column.name, dtype=object)


def text_of(value: object) -> str:
    r"""Convert one value to text like `as_text`: numbers with all of their digits, bytes in hexadecimal.

    >>> [text_of(v) for v in (Decimal("1.50"), 2.0, 1e-7, b"\x0f", datetime(2024, 1, 1), datetime(2024, 1, 1, 5))]
    ['1.5', '2', '0.0000001', '0f', '2024-01-01', '2024-01-01 05:00:00']
    """
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating):
        text = str(value)
        if not math.isfinite(value):
            return text
        return str(int(value)) if value == int(value) else format(Decimal(text), "f") if "e" in text else text
    if isinstance(value, bytes | bytearray | memoryview):
        return value.hex()
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        return str(int(value)) if value == value.to_integral_value() else format(value, "f").rstrip("0")
    if isinstance(value, datetime):
        midnight = value.tzinfo is None and value.time() == time() and getattr(value, "nanosecond", 0) == 0
        return str(value.date() if midnight else value)
    text = str(value)
    return _TRUTHS.get(text, text)


def as_numbers(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return a column of numbers or booleans as int64, float64 or float32, or None for other values.

    Integers stay integers while none is missing. A column without any value is numeric, all NaN.
    """
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if dtypes.is_bool_dtype(column) or dtypes.is_integer_dtype(column):
        whole = not column.hasnans and not _beyond_int64(column)
        return (
            column.astype(np.int64, copy=False) if whole else pd.Series(_floats(column), column.index, name=column.name)
        )
    if dtypes.is_float_dtype(column):
        return column if column.dtype == np.float32 else pd.Series(_floats(column), column.index, name=column.name)
    if column.dtype != object or dtypes.infer_dtype(column, skipna=True) not in _NUMBERS:
        return None
    return pd.Series(_floats(column), column.index, name=column.name)


def numbers_of(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Parse text as the nearest float64, NaN if it is no number (`pd.to_numeric` is off in the last places).

    >>> numbers_of(pd.Series([" 1.5", "99999999999999999999999998625610465278", "1_000", "x", None])).tolist()
    [1.5, 1e+38, nan, nan, nan]
    """
    codes, distinct = pd.factorize(texts)
    read = np.array([*map(_number, map(str, distinct)), np.nan], dtype=np.float64)
    return pd.Series(read[codes], index=texts.index, name=texts.name)


def _number(text: str) -> float:
    try:
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _beyond_int64(column: pd.Series[Any]) -> bool:
    """Whether a column of integers may hold more than int64 does: unsigned 64 bits, nullable or not."""
    return column.dtype in (np.dtype(np.uint64), pd.UInt64Dtype())


def _floats(column: pd.Series[Any]) -> npt.NDArray[np.float64]:
    return column.to_numpy(dtype=np.float64, na_value=np.nan)


def as_integers(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return a column of whole numbers, also as text, as int64 (Int64 if one is missing); None for other values.

    Every digit is kept: a number beyond 64 bits, or a float that may have lost some, is refused.

    >>> as_integers(pd.Series(["7300000000000000001", None, 5], dtype=object)).tolist()
    [7300000000000000001, <NA>, 5]
    """
    if dtypes.is_float_dtype(column) and (column.abs() > EXACT).any():
        return None
    if dtypes.is_integer_dtype(column) and not _beyond_int64(column):
        return column.astype("Int64") if column.hasnans else column.astype(np.int64)
    texts = without_point(without_nul(as_text(column)))
    present = texts.notna()
    if not texts[present].str.fullmatch(r"[+-]?\d+").all():
        return None
    numbers = [int(text) if there else None for text, there in zip(texts, present, strict=True)]
    try:
        whole = pd.Series(pd.array(numbers, dtype="Int64"), index=column.index, name=column.name)
    except (OverflowError, TypeError):  # OverflowError: unsigned 64-bit numbers
        return None
    return whole if whole.hasnans else whole.astype(np.int64)


def as_booleans(column: pd.Series[Any]) -> pd.Series[Any] | None:
    """Return a column of booleans, also as text or as 0 and 1, as numbers; None for other values."""
    texts = as_text(column)
    codes = texts.map({"true": 1, "false": 0, "1": 1, "0": 0})
    if (codes.isna() & texts.notna()).any():
        return None
    return codes.astype(np.float64) if codes.hasnans else codes.astype(np.int64)


def canonical_text(column: pd.Series[Any], kind: ColumnKind) -> pd.Series[Any]:
    """Convert a column to its dataset's text: `as_text`, for `digits` without trailing zeros. Categories are kept."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        levels = pd.Series(column.cat.categories)
        texts = canonical_text(levels, kind)
        if texts.is_unique:
            same = texts.equals(levels)
            return column if same else column.cat.rename_categories(texts.tolist())
        distinct = np.array([*texts, None], dtype=object)
        return pd.Series(distinct[column.cat.codes], index=column.index, name=column.name, dtype=object)
    text = without_nul(as_text(column))
    return without_point(text) if kind == "digits" else text


def without_nul(text: pd.Series[Any]) -> pd.Series[Any]:
    """Replace NUL characters by a sign, because pandas and databases cut text there and would merge different values."""
    return text.str.replace("\0", NUL_SIGN, regex=False) if has_nul(text) else text


def has_nul(text: pd.Series[Any]) -> bool:
    """Whether any text (object; may be missing) has a NUL character. Joined text is searched ten times faster."""
    present = text.to_numpy()[text.notna().to_numpy()]
    return any("\0" in "".join(present[i : i + _JOINED]) for i in range(0, len(present), _JOINED))


def without_point(text: pd.Series[Any]) -> pd.Series[Any]:
    """Write whole numbers in text as such: 101.0, typical of a column with missing values, becomes 101.

    The text has no NUL characters, at which the search for distinct values would cut it.
    """
    codes, values = pd.factorize(text)
    distinct = pd.Series(values, dtype=object)
    pointed = distinct.str.fullmatch(_WITH_POINT, na=False).to_numpy(dtype=bool) if len(distinct) else np.empty(0, bool)
    if not pointed.any():
        return text
    whole = np.array([*distinct.where(~pointed, distinct.str.split(".").str[0]), None], dtype=object)
    return pd.Series(whole[codes], index=text.index, name=text.name, dtype=object)


def kind_of_text(column: pd.Series[Any]) -> ColumnKind | None:
    """The kind of a text or time column, from its first values on; None without values."""
    if not column.notna().any():
        return None
    if is_time(column):
        return "time"
    distinct = pd.Series(as_text(column).dropna().unique(), dtype=object)
    return "digits" if distinct.str.fullmatch(_WHOLE).all() else "text"


def kind_of(column: pd.Series[Any]) -> ColumnKind | None:
    """The kind of a column that is not declared, by its first values; None without values."""
    if not column.notna().any():
        return None
    if is_time(column):
        return "time"
    values = column.astype(column.cat.categories.dtype) if isinstance(column.dtype, pd.CategoricalDtype) else column
    if dtypes.is_bool_dtype(values) or dtypes.infer_dtype(values, skipna=True) == "boolean":
        return "boolean"
    return "text" if as_numbers(values) is None else "number"


def is_time(column: pd.Series[Any]) -> bool:
    """Whether a column contains times, not text of them."""
    return dtypes.is_datetime64_any_dtype(column) or dtypes.infer_dtype(column, skipna=True) in _TIMES


def lost_digits(column: pd.Series[Any]) -> int:
    """Count floating-point numbers so large that they may have lost their last digits."""
    if not dtypes.is_float_dtype(column):
        return 0
    return int((column.abs() > EXACT).sum())


def rounded(column: pd.Series[Any]) -> int:
    """Count numbers with more digits than a floating-point number of a model."""
    if dtypes.is_integer_dtype(column):
        large = column[((column > EXACT) | (column < -EXACT)).to_numpy(dtype=bool, na_value=False)]
        return sum(int(float(value)) != int(value) for value in large)
    if column.dtype != object:
        return 0
    exact = (value for value in column if isinstance(value, Decimal | int) and not isinstance(value, bool))
    return sum(float(value) not in {math.inf, -math.inf} and Decimal(str(float(value))) != value for value in exact)


def key_hash(keys: pd.DataFrame, batch_start: datetime | None = None) -> npt.NDArray[np.int64]:
    """Return each row's id: a 64-bit hash of its key columns, in their order and all present, and of its batch.

    Stable over batches, processes and types: 1, 1.0 and "1" are the same key, while "1.0" and "01" are other texts. Two
    of n different keys share an id with a probability of about n² / 2⁶⁵: 3e-7 for 3.4 million rows.
    """
    hashed = pd.DataFrame({name: _hashes(column) for name, column in keys.items()}, copy=False)
    if batch_start is not None:
        start = np.array([batch_start], dtype="datetime64[us]").astype(np.int64)
        hashed = pd.concat([hashed, pd.Series(pd.util.hash_array(start)[0], index=hashed.index)], axis=1)
    return pd.util.hash_pandas_object(hashed, index=False).to_numpy().view(np.int64)


def _hashes(column: pd.Series[Any]) -> npt.NDArray[np.uint64]:
    """Hash whole numbers as integers, times as microseconds, all other values as text."""
    if dtypes.is_datetime64_any_dtype(column):
        local = column if column.dt.tz is None else column.dt.tz_convert("UTC").dt.tz_localize(None)
        return pd.util.hash_array(local.astype("datetime64[us]").to_numpy().astype(np.int64))
    values = column.to_numpy()
    if values.dtype.kind in "iuf" and (np.abs(values.astype(np.float64)) < _INT64).all():
        integers = values.astype(np.int64)
        if (integers == values).all():
            return pd.util.hash_array(integers)
    codes, texts = pd.factorize(as_text(column).to_numpy())
    hashed = pd.util.hash_array(texts, categorize=False)
    whole = pd.Series(texts, dtype=object).str.fullmatch(_WHOLE_NUMBER).to_numpy(dtype=bool)
    whole[whole] = np.abs(texts[whole].astype(np.float64)) < _INT64
    hashed[whole] = pd.util.hash_array(texts[whole].astype(np.int64))
    return hashed[codes]


def settled(declared: Mapping[str, ColumnKind], recorded: Mapping[str, ColumnKind]) -> dict[str, ColumnKind]:
    """The kinds of columns: as declared, else as recorded at the first landing."""
    return {**declared, **{n: k for n, k in recorded.items() if n not in declared or _says_more(k, declared[n])}}


def retyped(declared: Mapping[str, ColumnKind], recorded: Mapping[str, ColumnKind]) -> list[str]:
    """The columns with another declared type than the landed one."""
    return [
        name
        for name, kind in recorded.items()
        if name in declared
        and declared[name] != kind
        and not _says_more(kind, declared[name])
        and not {kind, declared[name]} <= {"number", "integer", "boolean"}  # all are stored as numbers
    ]


def _says_more(recorded: ColumnKind, declared: ColumnKind) -> bool:
    return declared == "text" and recorded in {"digits", "time"}
