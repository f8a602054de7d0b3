"""Divides columns into a few cells, so that distances between two samples are reliable."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.domain.features.features import FeatureSchema

MAX_CATEGORIES = 50  # rarer categories are compared as one,
MIN_CATEGORY_ROWS = 5  # as are those with fewer rows in the reference
OTHER = "(other)"


def comparable(
    reference: pd.DataFrame, current: pd.DataFrame, schema: FeatureSchema
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Convert both samples to a few cells per column, so that distances between them are reliable.

    A number becomes its decile of the reference, as in the original PSI; frequent values get cells of their own.
    (Evidently's default, equal-width bins, puts all rows into one bin if a single value is far out, and then nothing
    drifts.) Rare categories of the reference, and those it does not have, become one. Returns two frames of pandas
    categories with the columns of the schema. Infinite values, text among numbers, and absent columns are missing.
    """
    pairs = {c: _deciles(_finite(reference, c), _finite(current, c)) for c in schema.numeric}
    pairs |= {c: _frequent(values_of(reference, c), values_of(current, c)) for c in schema.categorical}
    return (
        pd.DataFrame({c: pair[0] for c, pair in pairs.items()}, index=reference.index),
        pd.DataFrame({c: pair[1] for c, pair in pairs.items()}, index=current.index),
    )


def values_of(frame: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column; all missing if it is absent."""
    return frame[column] if column in frame else pd.Series(np.nan, index=frame.index, dtype=object)


def numbers(frame: pd.DataFrame, column: str) -> pd.Series:
    """The values of a column as float64; other values are missing."""
    values = values_of(frame, column)
    if not pd.api.types.is_numeric_dtype(values):
        values = pd.to_numeric(values, errors="coerce")
    return values.astype("float64")


def _finite(frame: pd.DataFrame, column: str) -> pd.Series:
    return numbers(frame, column).replace([np.inf, -np.inf], np.nan)


def _deciles(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    sample = before.dropna().to_numpy()
    edges = _edges(sample) if len(sample) else np.array([])
    names = _names(edges)

    def place(values: pd.Series) -> pd.Categorical:
        codes = np.where(values.isna(), -1, np.searchsorted(edges, values.to_numpy(), side="left"))
        return _cells(codes, names)

    return place(before), place(now)


def _edges(sample: NDArray[np.float64]) -> NDArray[np.float64]:
    """Upper ends of the cells except the last. A value that fills a whole decile gets its own cell."""
    deciles = np.quantile(sample, np.arange(1, 10) / 10, method="inverted_cdf")
    values, times = np.unique(deciles, return_counts=True)
    with np.errstate(over="ignore"):  # no value is below the smallest number
        return np.union1d(values, np.nextafter(values[times > 1], -np.inf))


def _names(edges: NDArray[np.float64]) -> list[str]:
    """Names of the cells between the edges. Their leading number keeps them distinct and in order."""
    if not len(edges):
        return ["all"]
    noise = 1e-9 * float(
        np.abs(edges[np.isfinite(edges)]).max(initial=0)
    )  # print rounding noise, such as sin(180°), as 0
    ends = [f"{0 if abs(e) <= noise else e:.5g}" for e in edges]
    inner = [a if a == b else f"{a} to {b}" for a, b in pairwise(ends)]
    return [f"{i:02} {name}" for i, name in enumerate([f"up to {ends[0]}", *inner, f"above {ends[-1]}"])]


def _frequent(before: pd.Series, now: pd.Series) -> tuple[pd.Categorical, pd.Categorical]:
    counts = before.value_counts()
    kept = counts.index[counts >= MIN_CATEGORY_ROWS][:MAX_CATEGORIES].astype(object)
    names = [str(k) for k in kept]

    def place(values: pd.Series) -> pd.Categorical:
        values = values.astype("category")
        positions = kept.get_indexer(values.cat.categories.astype(object))
        lookup = np.append(np.where(positions < 0, len(kept), positions), -1)  # the last one is for code -1: missing
        return _cells(lookup[values.cat.codes], [*names, OTHER])

    return place(before), place(now)


def _cells(codes: NDArray[np.intp], names: list[str]) -> pd.Categorical:
    return pd.Categorical.from_codes(cast(Sequence[int], codes), pd.Index(names))
