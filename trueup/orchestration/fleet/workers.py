"""Turns of a fleet in worker processes. This module loads little, because each process begins with it.

A pool of the standard library breaks as a whole if one of its processes is killed. So each worker is a pool of its own:
its death fails the model that it had, and a new process takes its place.
"""

from __future__ import annotations

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from trueup.adapters.background import end_with_parent
from trueup.errors import TrueupError, WorkError
from trueup.orchestration.environment import prepare
from trueup.orchestration.fleet.results import Turned

_LOOK = 0.5  # seconds between looks at the stop


def in_workers(
    names: Sequence[str], turn: Callable[[str], Turned], workers: int, stop: threading.Event
) -> Iterator[Turned]:
    """Call `turn` with each name in one of `workers` processes, and yield the results as they come. It must be picklable.

    Models begin in the order of `names`, until `stop` is set.
    """
    left = list(reversed(names))
    free = [_Worker(turn) for _ in range(min(workers, len(names)))]
    every, busy = list(free), dict[Future[Turned], tuple[_Worker, str]]()
    try:
        while True:
            while free and left and not stop.is_set():
                worker, name = free.pop(), left.pop()
                busy[worker.start(name)] = (worker, name)
            if not busy:
                return
            for done in wait(busy, timeout=_LOOK, return_when=FIRST_COMPLETED).done:
                worker, name = busy.pop(done)
                yield worker.result(done, name)
                free.append(worker)
    finally:
        for worker in every:
            worker.close()


class _Worker:
    """One process, started with its first model and again after it was killed."""

    def __init__(self, turn: Callable[[str], Turned]) -> None:
        self._turn = turn
        self._pool: ProcessPoolExecutor | None = None

    def start(self, name: str) -> Future[Turned]:
        try:
            return (self._pool or self._begin()).submit(self._turn, name)
        except BrokenProcessPool:  # it was killed between two models
            return self._begin().submit(self._turn, name)

    def result(self, done: Future[Turned], name: str) -> Turned:
        try:
            return done.result()
        except BrokenProcessPool:
            self.close()
            return Turned.failed(name, _killed(name))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _begin(self) -> ProcessPoolExecutor:
        # Spawned, not forked: the parent has threads and open databases.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_set_up)
        return self._pool


def _killed(name: str) -> TrueupError:
    return WorkError(
        f"{name}: the worker process was killed in the middle of its turn, perhaps because memory ran out; what it had "
        f"recorded counts: `trueup run {name}` goes on from there"
    )


def _set_up() -> None:
    """Begin a worker: Ctrl-C is for the parent, which lets this process end its model."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING)
    threading.Thread(target=end_with_parent, daemon=True).start()
    prepare()
