"""Work that must not stand in the way of a decision: reports are rendered beside it, in one process of their own."""

from __future__ import annotations

import atexit
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

    A failing one is logged as soon as it has failed, never raised: most who hand one in do not wait for it. A worker
    that was killed, for want of memory perhaps, takes what was queued with it; the next job gets a new one.

    Python waits for what is queued before it exits.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._jobs: list[tuple[str, Future[Any]]] = []

    def submit(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Queue `job(*args)`; `what` says in messages what it makes, and where. Job and arguments must be picklable."""
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
        """Wait for all jobs and give the failures in words."""
        failures = []
        for what, future in self._jobs:
            if (error := future.exception()) is not None:
                failures.append(f"{what}: {error}")
        self._jobs.clear()
        return failures


class NoReports(Background):
    """Stands where no reports are wanted: makes none."""

    def submit(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Leave it."""


@lru_cache(maxsize=1)
def shared() -> Background:
    """The one of this process: its imports are paid for once, however many homes are opened."""
    return Background()


def _complain(what: str, done: Future[Any]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning("%s could not be made: %s: %s", what, type(error).__name__, error)


def _begin() -> None:
    os.nice(5)
    logging.disable(logging.INFO)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """End when the parent was killed: the pool's own queue would be waited at for ever, with half a gigabyte in hand."""
    if (parent := multiprocessing.parent_process()) is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
