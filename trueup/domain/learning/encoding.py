"""Encodes feature rows for trees into one matrix, chunk by chunk.

A pipeline's own `fit` holds the frame, the parts of its ColumnTransformer, their join and the estimator's copy at the
same time: .7 KB a row besides the frame, with 32 features. Here the encoder is fitted on the few rows in which a category
appears for the first time, which leaves it in the same state, and each chunk is encoded into its place in the matrix that
the estimator keeps. The fitted pipeline is the same, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from trueup.domain.features.chunks import Rows, chunks_of

NUMERIC, CATEGORICAL = "numeric", "categorical"  # the steps of the transformer that trees take


def fit_encoder(prepare: ColumnTransformer, X: Rows) -> ColumnTransformer:
    """Fit the transformer for trees on the rows that have a category, or a missing one, for the first time."""
    categorical = _columns(prepare, CATEGORICAL)
    met: dict[str, set[Any]] = {column: set() for column in categorical}
    first = []
    for chunk in chunks_of(X, categorical) if categorical else ():
        places = set()
        for column, known in met.items():
            codes, values = pd.factorize(chunk[column], use_na_sentinel=False)
            start = np.unique(codes, return_index=True)[1]
            for place, value in zip(start.tolist(), values, strict=True):
                key = None if pd.isna(value) else value
                if key not in known:
                    known.add(key)
                    places.add(place)
        if places:
            first.append(chunk.iloc[sorted(places)])
    kept = pd.concat(first, ignore_index=True) if first else pd.DataFrame(index=range(1))
    # It learns nothing from the other columns but their names.
    return prepare.fit(pd.DataFrame({c: kept[c] if c in kept else np.zeros(len(kept)) for c in X.columns}))


def encode(prepare: ColumnTransformer, chunk: pd.DataFrame, into: NDArray[Any]) -> None:
    """Write the encoded rows of a chunk (n, any) into `into` (n, p), like the fitted transformer would."""
    numeric, categorical = _columns(prepare, NUMERIC), _columns(prepare, CATEGORICAL)
    with np.errstate(over="ignore"):  # beyond float32 is infinite, which the estimator refuses
        for place, column in enumerate(numeric):
            into[:, place] = chunk[column].to_numpy(dtype=into.dtype, na_value=np.nan)
    if categorical:
        _encode_categories(prepare.named_transformers_[CATEGORICAL], chunk[categorical], into[:, len(numeric) :])


def columns_of(prepare: ColumnTransformer) -> list[str]:
    """The features in the columns of an encoded row."""
    return [*_columns(prepare, NUMERIC), *_columns(prepare, CATEGORICAL)]


def width_of(prepare: ColumnTransformer) -> int:
    """The number of columns of an encoded row."""
    return len(columns_of(prepare))


def matrix_of(prepare: ColumnTransformer, X: Rows, dtype: type[Any]) -> NDArray[Any]:
    """Encode all rows with the fitted transformer into one matrix (n, p) of this type."""
    matrix, start = np.empty((len(X), width_of(prepare)), dtype=dtype), 0
    for chunk in chunks_of(X):
        encode(prepare, chunk, matrix[start : start + len(chunk)])
        start += len(chunk)
    if start != len(X):
        raise ValueError(f"the chunks have {start:,} rows, {len(X):,} were announced")
    return matrix


def encodes(model: Pipeline) -> bool:
    """Whether the first step is the transformer for trees: numbers as they are, categories numbered."""
    prepare = model.steps[0][1]
    if not isinstance(prepare, ColumnTransformer) or len(model.steps) != 2:
        return False
    steps = {name: step for name, step, _ in prepare.transformers}
    return (
        list(steps) == [NUMERIC, CATEGORICAL]
        and isinstance(steps[NUMERIC], str)
        and isinstance(steps[CATEGORICAL], OrdinalEncoder)
    )


def _columns(prepare: ColumnTransformer, step: str) -> list[str]:
    return next(list(columns) for name, _, columns in prepare.transformers if name == step)


def _encode_categories(encoder: OrdinalEncoder, chunk: pd.DataFrame, into: NDArray[Any]) -> None:
    """Encode each distinct value once: the encoder looks up objects one by one."""
    codes = [pd.factorize(chunk[column], use_na_sentinel=False)[0] for column in chunk]
    first = [np.unique(numbers, return_index=True)[1] for numbers in codes]
    longest = max(map(len, first))
    # The distinct values of each column as they are in the frame, filled up with its first one.
    distinct = pd.DataFrame({
        column: chunk[column].take(np.append(places, np.repeat(places[:1], longest - len(places)))).array
        for column, places in zip(chunk, first, strict=True)
    })  # fmt: skip
    numbers = encoder.transform(distinct)
    for place, of_rows in enumerate(codes):
        into[:, place] = numbers[of_rows, place]
