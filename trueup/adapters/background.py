"""Work that must not stand in the way of a decision: reports are rendered beside it, in one process of their own."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from functools import lru_cache
from multiprocessing import connection
from typing import Any

log = logging.getLogger(__name__)


class Background:
    """One worker process, started with the first job. Jobs run in order; a failing one is logged, never raised.

    Python waits for what is queued before it exits.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._jobs: list[tuple[str, Future[Any]]] = []

    def submit(self, what: str, job: Callable[..., Any], *args: Any) -> None:
        """Queue `job(*args)`; `what` names it in messages. Job and arguments must be picklable."""
        if self._pool is None:
            # Spawned, not forked: the parent has threads and open databases.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(max_workers=1, mp_context=context, initializer=_begin)
            atexit.register(self._pool.shutdown)  # while Python's modules are still whole
        self._jobs.append((what, self._pool.submit(job, *args)))

    def wait(self) -> list[str]:
        """Wait for all jobs and give the failures in words."""
        failures = []
        for what, future in self._jobs:
            if (error := future.exception()) is not None:
                failures.append(f"{what}: {error}")
                log.warning("%s could not be made: %s", what, error)
        self._jobs.clear()
        return failures


@lru_cache(maxsize=1)
def shared() -> Background:
    """The one of this process: its imports are paid for once, however many homes are opened."""
    return Background()


def _begin() -> None:
    os.nice(5)
    logging.disable(logging.INFO)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End when the parent was killed: the pool's own queue would be waited at for ever, with half a gigabyte in hand."""
    if (parent := multiprocessing.parent_process()) is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
