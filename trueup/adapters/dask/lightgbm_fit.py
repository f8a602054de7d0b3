"""Fits LightGBM by `lightgbm.dask` on a number of workers, which hold the rows together.

The model depends on that number and on which rows each worker has, and on nothing else: row i is at worker i modulo the
number, and the workers have their places in LightGBM's network in this order. LightGBM finds the bins of a feature from the
rows of one worker, so all workers get rows of all times.

The workers speak with each other through sockets of LightGBM's own, without TLS or passwords. Each listens on all of its IPv4
addresses until all are connected. They send sums over rows, and the smallest, largest and bin limits of each feature.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer

from trueup.adapters.dask import worker
from trueup.adapters.dask.cluster import Cluster
from trueup.domain.features.chunks import Rows, chunks_of
from trueup.domain.learning import lightgbm_fit
from trueup.domain.learning.encoding import encode, width_of
from trueup.errors import ClusterFailed, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

Floats = NDArray[np.float64]
_PATIENCE = 30  # seconds
_TIME_OUT = 5  # minutes that a worker waits for the others
_ADDRESSES = re.compile(r"^(\[(?:machines|local_listen_port): )[^]]*\]$", re.MULTILINE)
_NETWORK = re.compile(r"[Ss]ocket|[Cc]onnect|[Nn]etwork|[Mm]achine")  # in LightGBM's own errors


def fit(
    cluster: Cluster,
    workers: int,
    estimator: Any,
    prepare: ColumnTransformer,
    X: Rows,
    labels: NDArray[Any],
    weights: Floats | None,
) -> None:
    """Fit an estimator of LightGBM like `lightgbm_fit.fit`, on exactly `workers` workers.

    Raises UsageError if the operator has not allowed sockets without TLS, ClusterFailed if there are fewer workers, one has
    several threads, or one is lost, and ValueError with LightGBM's reason.
    """
    if not cluster.plain_fits:
        raise UsageError(
            "train.dask_workers: lightgbm.dask exchanges sums over the training rows and limits of the features between the workers without TLS, on "
            "ports that everybody who reaches their machines can connect to; set TRUEUP_DASK_PLAIN_FITS=1 if only trusted machines can, or remove "
            "train.dask_workers"
        )
    client = cluster.client
    chosen = _chosen(client, cluster.address, workers)
    from distributed import Lock
    from lightgbm import register_logger
    from lightgbm.basic import LightGBMError

    try:
        targets = np.asarray(lightgbm_fit.learn_classes(estimator, prepare, labels), dtype=np.float64)
    except LightGBMError as error:
        raise ValueError(str(error)) from error
    weights = lightgbm_fit.row_weights(estimator, labels, weights)

    (quiet := logging.getLogger("lightgbm.dask")).setLevel(logging.ERROR)
    register_logger(quiet)  # else it prints the progress of its network
    # Two fits at once could each wait for a worker that the other one has.
    with client.as_current(), Lock("trueup lightgbm.dask"):
        blocks = _spread(client, chosen, prepare, X, targets, weights)
        text = _boosted(client, chosen, blocks, _parameters(estimator))
    lightgbm_fit.adopt(estimator, text)


@dataclass(frozen=True)
class _Block:
    """Encoded rows (n, p) in the memory of a worker, with their labels (n,) and weights."""

    worker: str
    rows: int
    matrix: Future
    targets: Future
    weights: Future | None


def _chosen(client: Client, address: str, wanted: int) -> list[str]:
    """The workers of a fit, each with one thread, in the order of their addresses."""
    with suppress(TimeoutError):
        client.wait_for_workers(wanted, timeout=_PATIENCE)  # of a cluster that is just starting
    threads: Mapping[str, int] = client.nthreads()
    if len(threads) < wanted:
        raise ClusterFailed(
            f"the recipe is fitted by lightgbm.dask on {wanted} workers, because the model depends on their number, and the Dask cluster at "
            f"{address} has {len(threads)}; start more, then run again"
        )
    single = sorted(name for name, number in threads.items() if number == 1)
    if len(single) < wanted:
        raise ClusterFailed(
            f"{len(single)} of the workers at {address} have one thread, and lightgbm.dask needs {wanted} of them, because sums depend on "
            "the number of threads; start them with --nthreads 1, then run again"
        )
    for name in single[:wanted]:
        client.submit(worker.run, worker.versions(), str, workers=[name], pure=False).result()
    return single[:wanted]


def _spread(
    client: Client,
    chosen: Sequence[str],
    prepare: ColumnTransformer,
    X: Rows,
    targets: Floats,
    weights: Floats | None,
) -> list[_Block]:
    """Encode the rows chunk by chunk, and send each row to its worker. The workers need no home."""

    def sent(values: Floats, name: str) -> Future:
        (future,) = client.scatter([np.ascontiguousarray(values)], workers=[name], hash=False)
        return future

    blocks, start, number = list[_Block](), 0, len(chosen)
    for chunk in chunks_of(X):
        encoded = np.empty((len(chunk), width_of(prepare)))
        encode(prepare, chunk, encoded)
        for place, name in enumerate(chosen):
            first = (place - start) % number
            if len(mine := encoded[first::number]):
                own = slice(start + first, start + len(chunk), number)
                counted = None if weights is None else sent(weights[own], name)
                blocks.append(_Block(name, len(mine), sent(mine, name), sent(targets[own], name), counted))
        start += len(chunk)
    return sorted(blocks, key=lambda block: chosen.index(block.worker))  # of one worker in the order of the rows


def _boosted(client: Client, chosen: Sequence[str], blocks: Sequence[_Block], parameters: Mapping[str, Any]) -> str:
    """The text of the model that the workers find together."""
    import dask.array
    from dask.delayed import delayed
    from distributed import KilledWorker
    from lightgbm.basic import LightGBMError
    from lightgbm.dask import DaskLGBMRegressor

    arrays: Any = dask.array

    def array(values: Sequence[Future], *shape: int) -> Any:
        return arrays.concatenate([
            arrays.from_delayed(delayed(value), (block.rows, *shape), np.float64)
            for value, block in zip(values, blocks, strict=True)
        ])  # fmt: skip

    width = blocks[0].matrix.result().shape[1]
    weights = [block.weights for block in blocks if block.weights is not None]
    model = DaskLGBMRegressor(client=_InOrder(client, [block.worker for block in blocks]), **parameters)
    try:
        model.fit(
            array([block.matrix for block in blocks], width),
            array([block.targets for block in blocks]),
            sample_weight=array(weights) if weights else None,
        )
    except (KilledWorker, CancelledError, OSError) as error:
        raise _lost(error) from None
    except LightGBMError as error:
        if _NETWORK.search(str(error)) or set(chosen) - set(client.nthreads()):
            raise _lost(error) from None
        raise ValueError(str(error)) from error
    # The addresses of one fit are no part of the model.
    return _ADDRESSES.sub(r"\1]", model.booster_.model_to_string(num_iteration=-1))


def _lost(error: BaseException) -> ClusterFailed:
    return ClusterFailed(
        f"a worker of lightgbm.dask was lost in the middle of the fit, perhaps because memory ran out: {error}; give the workers more "
        "memory, see that they reach each other, then run again"
    )


def _parameters(estimator: Any) -> dict[str, Any]:
    """The estimator's parameters for a booster of numbered classes. Its `class_weight` is part of the rows' weights."""
    parameters = {k: v for k, v in estimator.get_params().items() if k not in {"n_jobs", "class_weight"}}
    classes = len(getattr(estimator, "classes_", ()))
    objective = {0: "regression", 2: "binary"}.get(classes, "multiclass")
    parameters["objective"] = parameters.get("objective") or objective
    return parameters | ({"num_class": classes} if classes > 2 else {}) | {"time_out": _TIME_OUT}


class _InOrder:
    """A client for `lightgbm.dask` that leaves each block at its worker, and lists the workers in their order.

    LightGBM's own order is that of a set, and differs from process to process, and with it the bins.
    """

    def __init__(self, client: Client, workers: Sequence[str]) -> None:
        self._client = client
        self._workers = workers  # of each block

    def compute(self, blocks: Sequence[Any]) -> list[Future]:
        return [
            self._client.compute(block, workers=[name], allow_other_workers=False)
            for block, name in zip(blocks, self._workers, strict=True)
        ]

    def who_has(self, blocks: Sequence[Future]) -> dict[str, Sequence[str]]:
        return {block.key: [name] for block, name in zip(blocks, self._workers, strict=True)}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)
