"""Removes values that mean "missing" from columns and types what remains."""

from __future__ import annotations

from typing import Any

import pandas as pd
from pandas.api import types as dtypes

from trueup.config.sections.ingest import IngestConfig, SourceConfig
from trueup.domain.data.moments import parse_times
from trueup.domain.data.patterns import NO_NUMBER, TIME, TRUTH
from trueup.domain.data.sentinels import are_sentinels, sentinels_of
from trueup.domain.data.values import as_text, numbers_of
from trueup.errors import SourceError


def cleaned(
    column: pd.Series[Any], name: str, config: IngestConfig, source: SourceConfig, typed: bool
) -> tuple[pd.Series[Any], int]:
    """Remove a column's values that mean "missing" and count them. With `typed`, infer the column's type again."""
    decimal = getattr(source, "decimal", ".")
    missing = are_sentinels(column, sentinels_of(name, config), decimal)
    left = column.mask(pd.Series(missing, column.index)) if missing.any() else column
    anew = _typed_anew(left, config.timezone, decimal, numbers_only=source.kind != "files") if typed else None
    return left if anew is None else anew, int(missing.sum())


def _typed_anew(column: pd.Series[Any], zone: str, decimal: str, numbers_only: bool) -> pd.Series[Any] | None:
    """Convert a text column to the type that all of its values agree on, as CSV reading does. Returns None for text."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if dtypes.infer_dtype(column, skipna=True) != "string":
        return None
    codes, distinct = pd.factorize(as_text(column))
    texts = pd.Series(distinct, dtype=object).str.strip()
    typed = _typed_texts(texts, zone, decimal, numbers_only)
    if typed is None:
        return None
    anew: pd.Series[Any] = typed.reindex(codes).set_axis(column.index)
    return anew


def _typed_texts(texts: pd.Series[Any], zone: str, decimal: str, numbers_only: bool) -> pd.Series[Any] | None:
    if not numbers_only and texts.str.contains(TRUTH).all():
        return (texts.str.lower() == "true").astype(object)
    if not numbers_only and texts.str.contains(TIME).all():
        try:
            return parse_times(texts, zone, "")
        except SourceError:
            return None
    if texts.str.contains(NO_NUMBER).any() or (decimal == "," and texts.str.contains(".", regex=False).any()):
        return None
    pointed = texts.str.replace(decimal, ".", regex=False)
    numbers = pd.to_numeric(pointed, errors="coerce")
    numbers = numbers if dtypes.is_integer_dtype(numbers) else numbers_of(pointed)
    return None if (numbers.isna() & ~texts.str.lower().isin(["nan", "-nan", "+nan"])).any() else numbers
