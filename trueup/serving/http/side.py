"""A thread beside the event loop, for predictions that must not hold up an answer."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

_log: Final = logging.getLogger("trueup.serving")


class Side:
    """One thread that does jobs one after the other, at most `limit` of them waiting."""

    def __init__(self, name: str, limit: int) -> None:
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._limit = limit
        self._since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy_s(self) -> float:
        """Seconds that the job under way has taken so far; 0 without one."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since

    def do(self, job: Callable[[], None]) -> bool:
        """Queue a job. Returns False if there is no room."""
        if self._jobs.qsize() >= self._limit:
            return False
        self._jobs.put(job)
        return True

    def end(self) -> None:
        """End the thread after the jobs that wait; nobody waits for it, as a job may never end."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """End the thread, and wait for that so long."""
        self.end()
        self._thread.join(seconds)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._since = time.monotonic()
            try:
                job()
            except Exception:  # the thread must not end: what comes later would wait forever
                _log.exception("a job of the thread %s failed", self._thread.name)
            self._since = None
