"""Determines the kind of each column, and how missing values are written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.domain.data.values import EXACT, as_numbers, as_text
from trueup.domain.profiling.times import read_times

Kind = Literal["number", "category", "text", "time", "identifier", "counter", "constant", "empty"]

# Common texts for "missing". "unknown" is an ordinary category, except in a column of numbers.
NOTHING = frozenset({"null", "none", "na", "n/a", "#n/a", "nan", "nil", "?", "??", "-", "--", ".", "n.a."})
PERHAPS = frozenset({"unknown", "missing", "not available", "undefined", "not known", "tbd"})

MANY = 1_000  # with more values each is too rare to learn from, and the category is not a feature itself
_CODED = re.compile(r"(?:^|_)(?:id|code|nr|no|num|type|class|zone|store|branch|shop|site|region|group)$", re.IGNORECASE)
_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+),\d+$"
_THOUSANDS = r"^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$"
_TOO_LONG = r"^[+-]?\d{16,}$"  # digits beyond a number's precision: an id
_DATED = r"^\d{1,4}[-/. ]\w{1,9}[-/. ]\d{2,4}\b"  # a possible date that is not ISO 8601
_DATES = 0.95  # share of a time column that can be parsed
_SENTINELS = (-1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, -200.0, -100.0, 99.0, 999.0, 9999.0, 99999.0, 999999.0)
_FEW = 5  # share of rows that a sentinel has at least
_CODES = 3  # number of values that shows them to be codes
_MISREAD = 0.02  # share of a numeric column that may be text, which is counted


@dataclass(frozen=True)
class Column:
    """A column: its kind, its values without "missing" ones, and what was found.

    `values` are float64 for numbers, text or None for categories and text, datetimes for times. `sentinels` counts each
    value that means "missing". `absent` is the share of missing values, including sentinels. `odd` counts texts between
    numbers, which become missing.
    """

    name: str
    kind: Kind
    values: pd.Series[Any]
    distinct: int
    absent: float
    sentinels: dict[str | float, int] = field(default_factory=dict)
    odd: int = 0

    @property
    def informative(self) -> bool:
        """Whether it may be a feature as it is."""
        return self.kind in {"number", "category"} and not self.many

    @property
    def many(self) -> bool:
        """Whether it is a category with so many values that each is rare."""
        return self.kind == "category" and self.distinct > MANY


def profile(frame: pd.DataFrame) -> dict[str, Column]:
    """Profile each column of a table; what means "missing" in one numeric column does so in the others too."""
    columns = {str(name): _column(str(name), frame[name]) for name in frame.columns}
    shared = {float(s) for c in columns.values() for s in c.sentinels if isinstance(s, float) and s < 0}
    return {name: _without(column, shared) for name, column in columns.items()}


def comma_decimals(frame: pd.DataFrame) -> list[str]:
    """The text columns with decimal commas; none if a column has decimal points.

    "1,234" alone could also be a thousand, so a number of another form must be present.
    """
    texts = _texts(frame)
    pointed = any(v.str.match(r"^[+-]?\d+\.\d+$").any() and not v.str.contains(",").any() for v in texts.values())
    fractions = any((frame[n].dropna() % 1 != 0).any() for n in frame.columns if dtypes.is_float_dtype(frame[n]))
    share = {n: v.str.match(_COMMA).mean() for n, v in texts.items()}
    whole = {n: (v.str.match(_COMMA) | v.str.match(r"^[+-]?\d+$")).mean() for n, v in texts.items()}
    names = [n for n in share if share[n] > 0.3 and whole[n] > 1 - _MISREAD]
    clear = any((texts[n].str.match(_COMMA) & ~texts[n].str.match(_THOUSANDS)).any() for n in names)
    return names if clear and not pointed and not fractions else []


def _texts(frame: pd.DataFrame) -> dict[str, pd.Series[Any]]:
    texts = {str(n): frame[n].dropna().astype(str).str.strip() for n in frame.columns if frame[n].dtype == object}
    return {n: v for n, v in texts.items() if len(v)}


def _column(name: str, raw: pd.Series[Any]) -> Column:
    if not raw.notna().any():
        return Column(name, "empty", raw, 0, 1.0)
    if dtypes.is_datetime64_any_dtype(raw):
        return Column(name, "time", raw, raw.nunique(), float(raw.isna().mean()))
    if (numbers := as_numbers(raw)) is not None and not _long(raw, numbers):
        return _numbers(name, numbers.astype(np.float64), {})
    text = as_text(raw)
    cleaned = text.str.strip()
    nothing = cleaned.str.casefold()
    if not cleaned.str.match(_TOO_LONG).any():
        for words in (NOTHING, NOTHING | PERHAPS):
            numeric = _read_numbers(name, text, cleaned, nothing, words)
            if numeric is not None:
                return numeric
    if cleaned.dropna().str.match(_DATED).mean() > _DATES:
        times = read_times(cleaned.mask(nothing.isin(NOTHING | PERHAPS)))
        if times.moments.notna().sum() > _DATES * cleaned.notna().sum():
            return Column(name, "time", times.moments, times.moments.nunique(), float(times.moments.isna().mean()))
    words = NOTHING - _codes(cleaned)
    return _words(name, text.mask(nothing.isin(words)), _counted(text, nothing, words))


def _long(raw: pd.Series[Any], numbers: pd.Series[Any]) -> bool:
    """Whether whole numbers have more digits than a float represents, so that many ids would merge."""
    return not dtypes.is_float_dtype(raw) and bool((numbers.abs() > EXACT).any())


def _codes(cleaned: pd.Series[Any]) -> frozenset[str]:
    """The words for "missing" that are codes like the column's others: NA, Namibia, among DE and FR."""
    distinct = {str(value) for value in cleaned.dropna().unique()}
    others = {v for v in distinct if v.casefold() not in NOTHING}
    if len(others) < _CODES or not all(v.isalpha() and v.isupper() for v in others):
        return frozenset()
    lengths = {len(v) for v in others}
    return frozenset(v.casefold() for v in distinct - others if v.isupper() and v.isalpha() and lengths == {len(v)})


def _read_numbers(
    name: str, text: pd.Series[Any], cleaned: pd.Series[Any], folded: pd.Series[Any], words: frozenset[str]
) -> Column | None:
    """Parse a text column as numbers, with some words as missing; None for other content."""
    kept = cleaned.mask(folded.isin(words))
    read = pd.to_numeric(kept, errors="coerce")
    odd, present = int((read.isna() & kept.notna()).sum()), int(kept.notna().sum())
    if not present or odd > _MISREAD * present or kept.str.match(r"^[+-]?0\d").any():
        return None
    return replace(_numbers(name, read.astype(np.float64), _counted(text, folded, words)), odd=odd)


def _counted(text: pd.Series[Any], folded: pd.Series[Any], words: Iterable[str]) -> dict[str | float, int]:
    return {str(k): int(n) for k, n in text[folded.isin(list(words))].value_counts().items()}


def _numbers(name: str, values: pd.Series[Any], counts: dict[str | float, int]) -> Column:
    sentinels = dict(counts)
    for value in _isolated(values):
        sentinels[value] = int((values == value).sum())
        values = values.mask(values == value)
    values = values.replace([np.inf, -np.inf], np.nan)
    present = values.dropna()
    distinct, absent = int(present.nunique()), float(values.isna().mean())
    whole = bool((present % 1 == 0).all())
    if distinct <= 1:
        kind: Kind = "constant" if distinct else "empty"
    elif whole and distinct > 0.95 * len(present) and len(present) > 50 and _CODED.search(name):
        kind = "identifier"
    elif whole and distinct > 0.95 * len(values) and present.is_monotonic_increasing:
        kind = "counter"
    elif whole and len(present) > 50 and distinct == len(present) and present.max() - present.min() < 1.1 * distinct:
        kind = "identifier"  # numbers drawn from a row nearly without gaps, each once: few measures are so
    elif whole and distinct > 2 and _CODED.search(name) and present.abs().max() <= EXACT:
        return Column(name, "category", as_text(values.astype("Int64").astype(object)), distinct, absent, sentinels)
    else:
        kind = "number"
    return Column(name, kind, values, distinct, absent, sentinels)


def _words(name: str, values: pd.Series[Any], sentinels: dict[str | float, int]) -> Column:
    present = values.dropna()
    distinct, absent = int(present.nunique()), float(values.isna().mean())
    if distinct <= 1:
        kind: Kind = "constant" if distinct else "empty"
    elif distinct > 0.5 * len(present) and (present.str.count(r"\s") >= 2).mean() > 0.5:
        kind = "text"
    elif distinct > 0.95 * len(present) and len(present) > 50:
        kind = "identifier"
    else:
        kind = "category"
    return Column(name, kind, values, distinct, absent, sentinels)


def _isolated(values: pd.Series[Any]) -> list[float]:
    """Repeated extremes far from all other values: -200 degrees, an age of 999."""
    counts = values.dropna().value_counts().sort_index()
    levels, times = counts.index.to_numpy(float), counts.to_numpy()
    extremes: list[float] = []
    while len(levels) > 3:
        ends = [(levels[0], levels[1], slice(1, None), times[0]), (levels[-1], levels[-2], slice(None, -1), times[-1])]
        for value, near, rest, often in ends:
            spread = float(
                np.quantile(np.repeat(levels[rest], times[rest]), 0.995)
                - np.quantile(np.repeat(levels[rest], times[rest]), 0.005)
            )
            if often >= _FEW and value in _SENTINELS and abs(value - near) > 0.5 * spread > 0:
                extremes.append(float(value))
                levels, times = levels[rest], times[rest]
                break
        else:
            break
    return extremes


def _without(column: Column, shared: set[float]) -> Column:
    """Remove values that mean "missing" in other columns, if they are this column's repeated and only negative minimum."""
    if column.kind != "number" or not shared:
        return column
    present = column.values.dropna()
    low = float(present.min())
    if (
        low not in shared
        or low in column.sentinels
        or (present == low).sum() < _FEW
        or (present[present > low] < 0).any()
    ):
        return column
    sentinels = {**column.sentinels, low: int((present == low).sum())}
    values = column.values.mask(column.values == low)
    return replace(
        column, values=values, sentinels=sentinels, absent=float(values.isna().mean()), distinct=values.nunique()
    )
