"""Fits models and measures the seconds; a replay caches what it fitted.

Policies on the same history repeat fits: a reference for each batch, and challengers on the same rows if two policies
retrain at the same time. The cache makes each of them once.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from trueup.domain.features.chunks import Rows, frame_of
from trueup.domain.learning import encoding
from trueup.domain.learning.learning import Boost, Floats, fit, fit_steps
from trueup.errors import ClusterFailed

if TYPE_CHECKING:
    from trueup.adapters.dask.cluster import Cluster

_LABEL = "\0label"  # not the name of a feature
_WORTH = 1.0  # fits that take longer are cached
# What a fit depends on besides its order. LightGBM's module is read as a file, because it imports the package.
_CODE = [
    *(inspect.getsource(part) for part in (encoding, fit, fit_steps)),
    Path(encoding.__file__).with_name("lightgbm_fit.py").read_text(encoding="utf-8"),
    *(distribution.version for distribution in distributions(name="lightgbm")),
]


class Order(NamedTuple):
    """The arguments of `trueup.domain.learning.learning.fit`."""

    model: Pipeline
    X: Rows
    y: ArrayLike
    at_most: int | None
    seed: int
    weights: Floats | None
    workers: int | None  # of lightgbm.dask; None for a fit in this process


class Fits:
    """Fits models, and sums the seconds in `spent`. A recipe for `lightgbm.dask` is fitted by the workers of `cluster`."""

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.spent = 0.0
        self._cluster = cluster

    def fit(
        self,
        model: Pipeline,
        X: Rows,
        y: ArrayLike,
        at_most: int | None = None,
        seed: int = 0,
        weights: Floats | None = None,
        workers: int | None = None,
    ) -> Pipeline:
        fitted, seconds = self._make(Order(model, X, y, at_most, seed, weights, workers))
        self.spent += seconds
        return fitted

    def _make(self, order: Order) -> tuple[Pipeline, float]:
        """Return the fitted model, and the seconds of the fit."""
        started = time.perf_counter()
        fitted = fit(
            order.model, order.X, order.y, order.at_most, order.seed, order.weights, self._boost(order.workers)
        )
        return fitted, time.perf_counter() - started

    def _boost(self, workers: int | None) -> Boost | None:
        if workers is None:
            return None
        if self._cluster is None:
            raise ClusterFailed(
                f"the recipe is fitted by lightgbm.dask on {workers} workers, because the model depends on their number; set TRUEUP_DASK to "
                "a cluster with as many, then run again"
            )
        from trueup.adapters.dask import lightgbm_fit

        return partial(lightgbm_fit.fit, self._cluster, workers)


class Shelf(Fits):
    """A cache of fits, shared by processes: the same pipeline on the same rows is fitted once.

    The seconds of a cached fit count in `spent` each time, because a replay compares policies independently of their
    order. A model that is fitted faster than it is written and read is fitted again. `fit` raises UntrustedModel if a
    cached model's files were changed.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _make(self, order: Order) -> tuple[Pipeline, float]:
        key = _key(order)
        place, note = self._folder / key, self._folder / f"{key}.json"
        with FileLock(self._folder / f"{key}.lock"):  # a second process waits, and reads the first one's result
            noted = json.loads(note.read_text()) if note.exists() else None
            if noted is not None and noted["digest"] is not None:
                return model_files.load(place, noted["digest"]), noted["seconds"]
            fitted, seconds = super()._make(order)
            if noted is None:
                noted = {"seconds": seconds, "digest": None}
                if seconds > _WORTH:
                    place.mkdir(exist_ok=True)
                    model_files.dump(fitted, place)
                    noted["digest"] = model_files.manifest(place).digest
                files.write_text(note, json.dumps(noted))
        return fitted, noted["seconds"]


def _key(order: Order) -> str:
    """A digest of everything that a fit depends on: the pipeline, the rows in their order, and the settings of the fit."""
    labelled = frame_of(order.X).reset_index(drop=True).assign(**{_LABEL: pd.Series(order.y).to_numpy()})
    rows = parquet.digest(parquet.to_table(labelled))
    counted = None if order.weights is None else hashlib.sha256(order.weights.tobytes()).hexdigest()
    return digest_of(
        [_plain(order.model), rows, order.at_most, order.seed, counted, order.workers, sklearn.__version__, _CODE]
    )[:40]


def _plain(value: Any) -> Any:
    """An estimator with its parameters, as plain values; its own `repr` takes longer than some fits."""
    if isinstance(value, BaseEstimator):
        return [
            f"{type(value).__module__}.{type(value).__qualname__}",
            {k: _plain(v) for k, v in value.get_params(deep=False).items()},
        ]
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return [[_plain(k), _plain(v)] for k, v in value.items()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, value.tolist()]
    if (name := getattr(value, "__qualname__", None)) is not None:
        return f"{value.__module__}.{name}"
    return repr(value)
