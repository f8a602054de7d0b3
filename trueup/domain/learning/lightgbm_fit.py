"""Fits LightGBM, which keeps a row as one byte a feature: from one matrix, or from chunks that are read twice.

From chunks the first reading takes the sampled rows that decide the bins, the second one fills the bins; the model is the
same as from one matrix, to the last digit.

LightGBM takes a missing value for 0 in a feature that had a value in every training row. Here it goes where most of the
training rows went, as in scikit-learn's boosting.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.utils.class_weight import compute_sample_weight

from trueup.domain.features.chunks import CHUNK, Chunks, Rows, chunks_of
from trueup.domain.learning.encoding import encode, matrix_of, width_of

Floats = NDArray[np.float64]

_DECISIONS = re.compile(r"^decision_type=(.+)$", re.MULTILINE)
_LEFT, _MISSING_TYPE, _NAN = 2, 12, 8  # bits of a node's decision type


def fit(estimator: Any, prepare: ColumnTransformer, X: Rows, labels: NDArray[Any], weights: Floats | None) -> None:
    """Fit an estimator of LightGBM on rows that the fitted `prepare` encodes. Raises ValueError with LightGBM's reason."""
    try:
        if not isinstance(X, pd.DataFrame):
            _fit_chunks(estimator, prepare, X, labels, weights)
        else:
            estimator.fit(matrix_of(prepare, X, np.float64), labels, sample_weight=weights)
    except LightGBMError as error:
        raise ValueError(str(error)) from error
    adopt(estimator, estimator.booster_.model_to_string(num_iteration=-1))


def adopt(estimator: Any, text: str) -> None:
    """Make the model of a text that of an estimator, with missing values where most training rows went."""
    estimator._Booster = lightgbm.Booster(model_str=_with_missing_values(text))


def learn_classes(estimator: Any, prepare: ColumnTransformer, labels: NDArray[Any]) -> NDArray[Any]:
    """Let an estimator learn its classes and parameters from a few rows; return the targets (n,) as LightGBM keeps them.

    These are the numbers of the labels' classes, or the labels themselves.
    """
    iterations = estimator.n_estimators
    if hasattr(estimator, "predict_proba"):
        first = np.array([np.argmax(labels == label) for label in pd.unique(labels)])  # sorting takes 16 bytes a row
    else:
        first = np.array([labels.argmin(), labels.argmax()])  # counts that are all 0 cannot be fitted
    estimator.n_estimators = 1
    try:
        estimator.fit(np.zeros((len(first), width_of(prepare))), labels[first])
    finally:
        estimator.n_estimators = iterations
    if not hasattr(estimator, "classes_"):
        return np.asarray(labels, dtype=np.float32)
    targets = np.empty(len(labels), dtype=np.float32)
    for start in range(0, len(labels), CHUNK):
        part = slice(start, start + CHUNK)
        targets[part] = np.searchsorted(estimator.classes_, labels[part])
    return targets


def row_weights(estimator: Any, labels: NDArray[Any], weights: Floats | None) -> Floats | None:
    """The rows' weights (n,) times those of `class_weight`, which only the estimator's own `fit` knows."""
    if estimator.class_weight is None:
        return weights
    of_classes: Floats = compute_sample_weight(estimator.class_weight, labels)
    return of_classes if weights is None else weights * of_classes


def _fit_chunks(
    estimator: Any, prepare: ColumnTransformer, X: Chunks, labels: NDArray[Any], weights: Floats | None
) -> None:
    """Fit from chunks: the estimator learns its classes and parameters from a few rows, and then gets the Booster."""
    targets = learn_classes(estimator, prepare, labels)
    parameters = {**estimator.booster_.params, "num_iterations": estimator.n_estimators}
    weights = row_weights(estimator, labels, weights)
    rows = lightgbm.Dataset(_Encoded(prepare, X), label=targets, weight=weights, params=parameters)
    rows.construct().label = None  # LightGBM has a copy
    del targets
    estimator._Booster = lightgbm.train(parameters, rows)
    estimator._Booster.free_dataset()


class _Encoded(lightgbm.Sequence):  # type: ignore[misc]
    """Encoded rows, read from front to back: single ones in ascending order, then ranges."""

    batch_size = CHUNK

    def __init__(self, prepare: ColumnTransformer, X: Chunks) -> None:
        self._prepare, self._rows = prepare, X
        self._begin()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Floats:
        if not isinstance(index, slice):
            if not 0 <= index - self._start < len(self._now):
                self._range(int(index), int(index) + 1)
            row: Floats = self._now[index - self._start]
            return row
        return self._range(index.start, index.stop)

    def _begin(self) -> None:
        self._start, self._now = 0, np.empty((0, width_of(self._prepare)))
        self._chunks: Iterator[Any] = chunks_of(self._rows)

    def _range(self, start: int, stop: int) -> Floats:
        if start < self._start:
            self._begin()
        parts = []
        while start < stop:
            if start >= self._start + len(self._now):
                self._start += len(self._now)
                chunk = next(self._chunks)
                self._now = np.empty((len(chunk), self._now.shape[1]))
                encode(self._prepare, chunk, self._now)
                continue
            parts.append(self._now[start - self._start : stop - self._start])
            start += len(parts[-1])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _with_missing_values(text: str) -> str:
    """A model's text in which missing values go with most rows at the splits on features without missing ones."""
    head, *trees = re.split(r"^(?=Tree=|end of trees)", text, flags=re.MULTILINE)
    *trees, tail = trees
    changed = [_DECISIONS.sub(partial(_decisions, tree), tree) for tree in trees]
    sizes = re.search(r"^tree_sizes=(.*)$", head, flags=re.MULTILINE)
    if sizes is None:
        raise ValueError("LightGBM's text of a model has no tree_sizes; install a version that pyproject.toml allows")
    grown = [int(n) + len(new) - len(old) for n, old, new in zip(sizes[1].split(), trees, changed, strict=True)]
    head = head.replace(sizes[0], f"tree_sizes={' '.join(map(str, grown))}")
    return "".join([head, *changed, tail])


def _decisions(tree: str, listed: re.Match[str]) -> str:
    """The decision types of a tree, each with the side of missing values."""
    values = dict(line.partition("=")[::2] for line in tree.splitlines())
    inner, leaves = (np.array(values[name].split(), dtype=int) for name in ("internal_count", "leaf_count"))
    left, right = (_rows(values[name], inner, leaves) for name in ("left_child", "right_child"))
    kinds = np.array(listed[1].split(), dtype=int)
    never_missing = (kinds & _MISSING_TYPE) == 0
    most = np.where(left > right, _LEFT, 0)
    return f"decision_type={' '.join(map(str, np.where(never_missing, kinds & ~_LEFT | _NAN | most, kinds)))}"


def _rows(children: str, inner: NDArray[Any], leaves: NDArray[Any]) -> NDArray[Any]:
    """The number of training rows in each child; a negative one is a leaf."""
    places = np.array(children.split(), dtype=int)
    rows: NDArray[Any] = np.where(places >= 0, inner[np.maximum(places, 0)], leaves[np.maximum(~places, 0)])
    return rows
