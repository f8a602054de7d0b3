"""The distribution of each input in training, for servers to compare their requests with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.domain.data.values import as_text
from trueup.serving.loading.manifest import Input
from trueup.serving.state import Sketch

_BINS: Final = 10


def sketches(inputs: Sequence[Input], sample: pd.DataFrame) -> tuple[Sketch, ...]:
    """The sketch of each input that `sample`, feature frames of training rows, has; none of an empty sample."""
    present = [column for column in inputs if column.name in sample.columns and len(sample)]
    return tuple(
        _of_numbers(column.name, sample[column.name]) if column.kind == "number" else _of_categories(column, sample)
        for column in present
    )


def _of_numbers(name: str, values: pd.Series[Any]) -> Sketch:
    """Deciles of the values; equal ones make one edge, so that a constant has the bins below, at and above it."""
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    there = numbers[~np.isnan(numbers)]
    finite = there[np.isfinite(there)]
    inner = np.quantile(finite, np.linspace(0, 1, _BINS + 1)[1:-1]) if len(finite) else np.zeros(0)
    edges = np.unique(inner)
    counts = np.bincount(np.searchsorted(edges, there, side="left"), minlength=len(edges) + 1)
    shares = [*counts / len(numbers), 0.0, 1 - len(there) / len(numbers)]
    return Sketch(name=name, edges=tuple(edges.tolist()), categories=(), shares=tuple(map(float, shares)))


def _of_categories(column: Input, sample: pd.DataFrame) -> Sketch:
    texts = as_text(sample[column.name].astype(object))
    codes = pd.Categorical(texts, categories=list(column.categories)).codes
    counts = np.bincount(codes[codes >= 0], minlength=len(column.categories))
    missing = float(texts.isna().mean())
    shares = [*counts / len(sample), max(0.0, 1 - missing - counts.sum() / len(sample)), missing]
    return Sketch(name=column.name, edges=(), categories=column.categories, shares=tuple(map(float, shares)))
