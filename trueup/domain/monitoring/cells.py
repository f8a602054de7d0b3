"""Cells: a few values a column, so that any distance between two samples can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.domain.features.features import FeatureSchema

MAX_CATEGORIES = 50  # the rarer ones are compared as one,
MIN_CATEGORY_ROWS = 5  # and so are those that the reference has fewer rows of
OTHER = "(other)"


def comparable(
    reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Bring both samples to a few cells a column, so that any distance between them can be trusted.

    A number becomes its place among the reference's deciles, as PSI was first defined; values that repeat themselves get
    cells of their own. (Equal-width bins, Evidently's default, put all rows into one bin when a single value is far out,
    and then nothing drifts.) Rare categories of the reference, and those it does not have, become one. Returns two
    frames of pandas categories with the columns of the schema; infinite values, text among numbers, and columns that
    are not there are missing.
    """
    pairs = {c: _deciles(_finite(reference, c), _finite(current, c)) for c in schema.numeric}
    pairs |= {c: _frequent(values_of(reference, c), values_of(current, c)) for c in schema.categorical}
    return (
        pd.DataFrame({c: pair[0] for c, pair in pairs.items()}, index=reference.index),
        pd.DataFrame({c: pair[1] for c, pair in pairs.items()}, index=current.index),
    )


def values_of(frame: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column; all missing when it is not there."""
    return frame[column] if column in frame else pd.Series(np.nan, index=frame.index, dtype=object)


def numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column as float64; what is no number is missing."""
    values = values_of(frame, column)
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values, errors="coerce")
    return values.astype("float64")


def _finite(frame: pd.DataFrame, column: str) -> pd.Series:
    return numbers(frame, column).replace([np.inf, -np.inf], np.nan)


def _deciles(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    known = before.dropna().to_numpy()
    edges = _edges(known) if len(known) else np.array([])
    names = _names(edges)

    def place(values: pd.Series) -> pd.Categorical:
        codes = np.where(values.isna(), -1, np.searchsorted(edges, values.to_numpy(), side="left"))
        return _cells(codes, names)

    return place(before), place(now)


def _edges(known: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper ends of the cells but the last. A value that fills a whole decile is cut off on both sides."""
    deciles = np.quantile(known, np.arange(1, 10) / 10, method="inverted_cdf")
    values, times = np.unique(deciles, return_counts=True)
    with np.errstate(over="ignore"):  # below the smallest number there is lies minus infinity, and no value
        return np.union1d(values, np.nextafter(values[times > 1], -np.inf))


def _names(edges: NDArray[np.float64]) -> list[str]:
    """Names of the cells between the edges, in order; the number before keeps them apart and in order when sorted."""
    if not len(edges):
        return ["all"]
    noise = 1e-9 * float(
        np.abs(edges[np.isfinite(edges)]).max(initial=0)
    )  # a sine of 180 degrees is not quite 0, and reads like a riddle
    ends = [f"{0 if abs(e) <= noise else e:.5g}" for e in edges]
    inner = [a if a == b else f"{a} to {b}" for a, b in pairwise(ends)]
    return [f"{i:02} {name}" for i, name in enumerate([f"up to {ends[0]}", *inner, f"above {ends[-1]}"])]


def _frequent(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    counts = before.value_counts()
    kept = counts.index[counts >= MIN_CATEGORY_ROWS][:MAX_CATEGORIES].astype(object)
    names = [str(k) for k in kept]

    def place(values: pd.Series) -> pd.Categorical:
        values = values.astype("category")
        found = kept.get_indexer(values.cat.categories.astype(object))
        lookup = np.append(np.where(found < 0, len(kept), found), -1)  # the last is for code -1, missing
        return _cells(lookup[values.cat.codes], [*names, OTHER])

    return place(before), place(now)


def _cells(codes: NDArray[np.intp], names: list[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(cast(Sequence[int], codes), pd.Index(names))
