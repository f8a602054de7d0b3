"""Fitting, with the seconds that it took; and a shelf on which a replay keeps what it fitted.

Policies that are replayed on the same history ask for the same fits again and again: a reference for each batch, and a
challenger on the same rows wherever two of them retrain at the same time. The shelf gives them once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import sklearn
from filelock import FileLock
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from trueup import files
from trueup.adapters import parquet
from trueup.adapters.mlflow import model_files
from trueup.domain.data.digest import digest_of
from trueup.domain.learning.learning import Floats, fit

_LABEL = "\0label"  # no feature is called that
_WORTH = 1.0  # seconds of fitting from which a model is kept


class Order(NamedTuple):
    """A fit to make: the arguments of `trueup.domain.learning.learning.fit`."""

    model: Pipeline
    X: pd.DataFrame
    y: ArrayLike
    at_most: int | None
    seed: int
    weights: Floats | None


class Fits:
    """Fits models, and counts the seconds of it in `spent`."""

    def __init__(self) -> None:
        self.spent = 0.0

    def fit(
        self,
        model: Pipeline,
        X: pd.DataFrame,
        y: ArrayLike,
        at_most: int | None = None,
        seed: int = 0,
        weights: Floats | None = None,
    ) -> Pipeline:
        """As `trueup.domain.learning.learning.fit`."""
        fitted, seconds = self._make(Order(model, X, y, at_most, seed, weights))
        self.spent += seconds
        return fitted

    def _make(self, order: Order) -> tuple[Pipeline, float]:
        """Give the fitted model, and the seconds that fitting took."""
        started = time.perf_counter()
        fitted = fit(*order)
        return fitted, time.perf_counter() - started


class Shelf(Fits):
    """Gives a fit that some process made before: the same pipeline on the same rows.

    The seconds that it took then count in `spent` each time, as if it had been made: a replay compares policies, and the
    order of these must not matter. A model that is fitted sooner than it is written and read is fitted again. `fit`
    raises UntrustedModel when a kept model's files are not those that were written.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _make(self, order: Order) -> tuple[Pipeline, float]:
        key = _key(order)
        place, note = self._folder / key, self._folder / f"{key}.json"
        with FileLock(self._folder / f"{key}.lock"):  # a second process waits, and reads what the first one made
            known = json.loads(note.read_text()) if note.exists() else None
            if known is not None and known["digest"] is not None:
                return model_files.load(place, known["digest"]), known["seconds"]
            fitted, seconds = super()._make(order)
            if known is None:
                known = {"seconds": seconds, "digest": None}
                if seconds > _WORTH:
                    place.mkdir(exist_ok=True)
                    model_files.dump(fitted, place)
                    known["digest"] = model_files.manifest(place).digest
                files.write_text(note, json.dumps(known))
        return fitted, known["seconds"]


def _key(order: Order) -> str:
    """A digest of all that a fit depends on: the pipeline, the rows in their order, and how fitting goes."""
    labelled = order.X.reset_index(drop=True).assign(**{_LABEL: pd.Series(order.y).to_numpy()})
    rows = parquet.digest(parquet.to_table(labelled))
    counted = None if order.weights is None else hashlib.sha256(order.weights.tobytes()).hexdigest()
    return digest_of(
        [_said(order.model), rows, order.at_most, order.seed, counted, sklearn.__version__, inspect.getsource(fit)]
    )[:40]


def _said(value: Any) -> Any:
    """An estimator with its parameters, as plain values; its own `repr` takes longer than some fits."""
    if isinstance(value, BaseEstimator):
        return [
            f"{type(value).__module__}.{type(value).__qualname__}",
            {k: _said(v) for k, v in value.get_params(deep=False).items()},
        ]
    if isinstance(value, list | tuple):
        return [_said(v) for v in value]
    if isinstance(value, dict):
        return [[_said(k), _said(v)] for k, v in value.items()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, value.tolist()]
    if (name := getattr(value, "__qualname__", None)) is not None:
        return f"{value.__module__}.{name}"
    return repr(value)
