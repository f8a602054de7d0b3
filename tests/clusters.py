"""Dask clusters of the tests: real schedulers and workers on 127.0.0.1."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def running(workers: int, processes: bool, **options: Any) -> Iterator[Any]:
    """A cluster over TCP: workers in processes of their own, or in this one, which starts in a moment."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own
        cluster = distributed.LocalCluster(
            n_workers=workers,
            processes=processes,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs="ERROR",
            **{"protocol": "tcp", "threads_per_worker": 1, **options},
        )
        try:
            yield cluster
        finally:
            cluster.close()


def without_workers(cluster: Any) -> None:
    """Let all workers of a cluster leave."""
    cluster.scale(0)
    wait_until(lambda: not cluster.scheduler_info["workers"])


def wait_until(there: Callable[[], bool], seconds: float = 120) -> None:
    """Wait for a condition, at most so long."""
    end = time.monotonic() + seconds
    while not there():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
