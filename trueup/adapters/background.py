"""Renders reports in one separate process, so that decisions do not wait for them."""

from __future__ import annotations

import atexit
import gc
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache, partial
from multiprocessing import connection
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """One worker process, started with the first job. Jobs run in order.

    A failing job is logged at once, not raised, because most callers do not wait for it. If the worker is killed,
    perhaps because memory ran out, its queue is lost, and the next job starts a new one.

    Python waits for queued jobs before it exits.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._jobs: list[tuple[str, Future[Any]]] = []

    def submit(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Queue `job(*args)`; `what` describes the result in messages. Job and arguments must be picklable."""
        try:
            future = (self._pool or self._start()).submit(job, *args)
        except BrokenProcessPool:
            future = self._start().submit(job, *args)
        future.add_done_callback(partial(_complain, what))
        self._jobs.append((what, future))

    def _start(self) -> ProcessPoolExecutor:
        # Spawned, not forked: the parent has threads and open databases.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin)
        atexit.register(self._pool.shutdown)  # while Python's modules are still whole
        return self._pool

    def wait(self) -> list[str]:
        failures = []
        for what, future in self._jobs:
            if (error := future.exception()) is not None:
                failures.append(f"{what}: {error}")
        self._jobs.clear()
        return failures


class NoReports(Background):
    """A replacement that makes no reports."""

    def submit(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Leave it."""


@lru_cache(maxsize=1)
def shared() -> Background:
    """The instance of this process, which imports vendors once for all homes."""
    return Background()


def _complain(what: str, done: Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("%s could not be made: %s: %s", what, type(error).__name__, error)


def _begin() -> None:
    os.nice(5)
    gc.set_threshold(10_000, 10, 10)  # a fifth of the time of imports is spent in collections of what stays
    logging.disable(logging.INFO)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """End when the parent was killed: the pool's queue would wait for ever, holding half a gigabyte."""
    if (parent := multiprocessing.parent_process()) is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
