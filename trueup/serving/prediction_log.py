"""The prediction log: what a server answered is written before the answer is sent."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from trueup.errors import LogFull
from trueup.serving.home_table import HomeTable
from trueup.serving.log_format import framed
from trueup.serving.log_segments import Segments
from trueup.serving.state import Serve

_GROUP: Final = 4096  # requests that are made durable together at most
_Waiter = asyncio.Future[None]
_Item = tuple[list[bytes], _Waiter | None]


class PredictionLog:
    """Appends records to the log of one model, as durable as `serve.durability` asks.

    One object serves all threads of a process, and a forked one begins files of its own. `name` names the process, see
    `log_format.process_name`; `database` is the URL of the home's database, for `durability: home`.
    """

    def __init__(self, folder: Path, serve: Serve, name: str, *, model: str = "", database: str = "") -> None:
        self._durability = serve.durability
        limit = int(serve.log_mib * 2**20)
        self._owner, self._name = os.getpid(), name
        self._segments = Segments(folder, name, limit)
        self._folder, self._limit = folder, limit
        self._table = HomeTable(database, model, limit) if serve.durability == "home" else None
        self._lock = threading.Lock()
        self._group: _Group | None = None

    @property
    def logs(self) -> bool:
        """Whether anything is logged."""
        return self._durability != "off"

    @property
    def waiting(self) -> int:
        """Bytes that wait to be stored, of all processes; at most a second old while there are requests."""
        return self._table.waiting if self._table else self._segments.waiting

    def append(self, payloads: list[bytes]) -> Awaitable[None] | None:
        """Log records (see `log_format.encoded`): all or none of them. Raises LogFull.

        The caller waits for what is returned, if anything, before it answers; that may raise LogFull, too. Outside of
        an event loop (a shadow prediction) the records are written soon, or lost with the process.
        """
        if not payloads or self._durability == "off":
            return None
        if self._owner != os.getpid():
            self._after_fork()
        if self._durability == "process":
            with self._lock:
                self._segments.write(framed(payloads))
            return None
        if self._group is None:
            self._start_group()
        assert self._group is not None
        return self._group.add(payloads)

    def close(self) -> None:
        """Write what is queued, and let go of the files."""
        with self._lock:
            group, self._group = self._group, None
        if group is not None:
            group.end()
        if self._table is not None:
            self._table.close()
        with self._lock:
            self._segments.close()

    def _start_group(self) -> None:
        with self._lock:
            if self._group is None:
                self._group = _Group(self._table.write if self._table else self._write_durably)

    def _write_durably(self, payloads: list[bytes]) -> None:
        with self._lock:
            self._segments.write(framed(payloads), durable=True)

    def _after_fork(self) -> None:
        """Leave the parent's file, thread and lock to the parent."""
        self._lock, self._group, self._owner = threading.Lock(), None, os.getpid()
        self._segments.abandon()
        self._segments = Segments(self._folder, f"{self._name}.{self._owner}", self._limit)
        if self._table is not None:
            self._table = self._table.anew()


class _Group:
    """A thread that makes the records of all waiting requests durable at once."""

    def __init__(self, write: Callable[[list[bytes]], None]) -> None:
        self._write = write
        self._queue: SimpleQueue[_Item | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="prediction log", daemon=True)
        self._thread.start()

    def add(self, payloads: list[bytes]) -> Awaitable[None] | None:
        """Queue records. Returns what to wait for, if the caller can wait."""
        try:
            waiter = asyncio.get_running_loop().create_future()
        except RuntimeError:
            waiter = None
        self._queue.put((payloads, waiter))
        return waiter

    def end(self) -> None:
        """Wait until all queued records are written."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        going = True
        while going:
            items = self._take()
            going = items[-1] is not None
            group = [item for item in items if item is not None]
            if group:
                _wake([waiter for _, waiter in group if waiter is not None], self._written(group))

    def _take(self) -> list[_Item | None]:
        """Wait for an item, and take all that are there. None is the last one ever."""
        items = [self._queue.get()]
        with suppress(Empty):
            while items[-1] is not None and len(items) < _GROUP:
                items.append(self._queue.get_nowait())
        return items

    def _written(self, group: list[_Item]) -> LogFull | None:
        try:
            self._write([payload for payloads, _ in group for payload in payloads])
        except LogFull as full:
            return full
        except Exception as error:  # the thread must not end: every later request would wait forever
            return LogFull(f"the prediction log cannot be written: {error}; see the server's log")
        return None


def _wake(waiters: list[_Waiter], failure: LogFull | None) -> None:
    """Wake the requests of a group: one call for each event loop."""
    for loop in {waiter.get_loop() for waiter in waiters}:
        own = [waiter for waiter in waiters if waiter.get_loop() is loop]
        with suppress(RuntimeError):  # the loop has ended, and nobody waits there
            loop.call_soon_threadsafe(_finish, own, failure)


def _finish(waiters: list[_Waiter], failure: LogFull | None) -> None:
    for waiter in waiters:
        if waiter.done():  # its request was cancelled
            continue
        if failure is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(LogFull(str(failure)))
