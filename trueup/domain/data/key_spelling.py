"""Finds differences of spelling that keep the keys of two tables from matching."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pandas as pd

from trueup.domain.data.values import as_text

_MANY: Final = 100_000  # keys to examine
_MOST: Final = 0.5  # share of the smaller table's keys that must match for a cause to be named
_FLOAT: Final = 15  # digits that a float represents exactly

_WAYS: Final[tuple[tuple[str, Callable[[pd.Series[Any]], pd.Series[Any]]], ...]] = (
    ("with other zeros at the front", lambda keys: keys.str.lstrip("0")),
    ("with .0 at the end", lambda keys: keys.str.replace(r"\.0+$", "", regex=True)),
    ("with other blanks or in other case", lambda keys: keys.str.strip().str.casefold()),
    ("with other digits after the 15th, which were lost as floating-point numbers", lambda keys: keys.str[:_FLOAT]),
)


def spelled_otherwise(here: pd.Series[Any], there: pd.Series[Any]) -> str:
    """Describe how the spelling of two tables' keys differs; "" if unknown.

    >>> spelled_otherwise(pd.Series(["0001", "0002"]), pd.Series(["1", "2"]))
    "they are the same with other zeros at the front: 0001 and 1; lpad(CAST(... AS VARCHAR), 4, '0') in a query adds them"
    """
    mine, theirs = (pd.Series(as_text(keys).dropna().unique()[:_MANY], dtype=object) for keys in (here, there))
    if mine.empty or theirs.empty:
        return ""
    for words, bring in _WAYS:
        brought, other = bring(mine), bring(theirs)
        met = brought.isin(set(other))
        if met.sum() < _MOST * min(len(mine), len(theirs)):
            continue
        example = mine[met].iloc[0]
        same = theirs[other == brought[met].iloc[0]].iloc[0]
        difference = f"they are the same {words}: {example} and {same}"
        return difference + (_padding(mine, theirs) if "zeros" in words else "")
    return ""


def _padding(mine: pd.Series[Any], theirs: pd.Series[Any]) -> str:
    """How to add zeros, if all keys of one side have the same length."""
    widths = [keys.str.len().unique() for keys in (mine, theirs) if keys.str.startswith("0").any()]
    fixed = next((int(width[0]) for width in widths if len(width) == 1), None)
    if fixed is None:
        return "; write both alike in a query"
    return f"; lpad(CAST(... AS VARCHAR), {fixed}, '0') in a query adds them"
