"""Predicts several batches at the same time on a Dask cluster, ahead of the loop, which stores them in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import pandas as pd

from trueup.adapters.dask.cluster import Cluster
from trueup.config.schema import ModelConfig
from trueup.domain.types import Batch
from trueup.handoffs import Checked
from trueup.loop.elsewhere import Elsewhere
from trueup.model import Champion, Model
from trueup.stages.score import left_out, predictions

_EACH = 2  # predicted batches that may wait for a worker each


@contextmanager
def predicting_ahead(model: Model, checked: Sequence[Checked], as_of: datetime) -> Iterator[None]:
    """For the block, let the cluster of TRUEUP_DASK predict the batches, if there are several.

    Each is a unit: the champion's predictions of one batch, as `predictions` makes them. What a batch raises is raised
    when the loop comes to it, as without a cluster.
    """
    cluster, current = model.home.cluster, model.champion()
    if cluster is None or current is None:
        yield
        return
    batches = [c.batch for c in checked if left_out(model, c, current) is None]
    if len(batches) < 2:
        yield
        return
    model.home.ahead = _Ahead(cluster, model, batches, current, as_of)
    try:
        yield
    finally:
        model.home.ahead = None


class _Ahead:
    """Predictions by batch and version. At most a few more batches are begun than have been taken."""

    def __init__(
        self, cluster: Cluster, model: Model, batches: Sequence[Batch], current: Champion, as_of: datetime
    ) -> None:
        self._cluster, self._waiting = cluster, list(batches)
        self._of = (Elsewhere.of(model.home), model.config)
        self._version, self._as_of = current, as_of
        self._begun = dict[int, Callable[[], pd.DataFrame]]()

    def take(self, batch: Batch, version: Champion) -> pd.DataFrame | None:
        """The predictions of a batch, once; None if they were not begun. Raises what predicting it raises."""
        self._begin()
        if version != self._version or (result := self._begun.pop(batch.rows.sequence, None)) is None:
            return None
        made = result()
        self._begin()
        return made

    def _begin(self) -> None:
        most = _EACH * max(1, len(self._cluster.client.nthreads()))
        while self._waiting and len(self._begun) < most:
            batch = self._waiting.pop(0)
            self._begun[batch.rows.sequence] = self._cluster.start(
                _predicted, *self._of, batch, self._version, self._as_of
            )


def _predicted(there: Elsewhere, config: ModelConfig, batch: Batch, version: Champion, as_of: datetime) -> pd.DataFrame:
    with there.opened() as home:
        return predictions(Model(config, home), batch, version, as_of)
