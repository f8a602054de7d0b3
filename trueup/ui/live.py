"""Keeps the pages live: one poller for all clients, which are told by server-sent events."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

from markupsafe import escape

from trueup.config.section import NAME
from trueup.ui.reader import Reader
from trueup.ui.render import banner

T = TypeVar("T")
PAUSE: Final = 0.5  # seconds between two looks at the home
_CONFIGS: Final = 5.0  # seconds between two looks at the configs
_TICK: Final = 60.0  # seconds after which pages ask again: lateness and expiry come with the clock
HEARTBEAT: Final = 15.0  # seconds, so that proxies keep the connection and a client that has gone is noticed
_NAMED: Final = 20  # models that are announced by name at once
_NAME: Final = re.compile(NAME)


@dataclass(eq=False)
class Client:
    """One open page: what it has not been told yet."""

    problem: str | None  # that the page shows; None: it may show any
    changed: set[str] = field(default_factory=set)
    behind: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, models: Iterable[str]) -> None:
        """Note that models have changed."""
        self.changed |= set(models)
        self.behind = True
        self.wake.set()


class Live:
    """Looks at the home in a thread of its own, and tells the clients what has changed.

    All reading of the home happens in that thread, because a connection of SQLite belongs to the thread that opened it.
    """

    def __init__(self, reader: Reader, pause: float = PAUSE) -> None:
        self.reader = reader
        # Another server's revisions are other numbers, so that a page that was open before a restart is told.
        self.revision = self.first = time.time_ns() // 1_000_000
        self.heartbeat = HEARTBEAT
        self.clients: set[Client] = set()
        self.ready = asyncio.Event()  # after the first look
        self._pause, self._ended = pause, False
        self._thread = ThreadPoolExecutor(1, "trueup-ui")
        self._tasks: list[asyncio.Task[None]] = []

    async def do(self, work: Callable[[], T]) -> T:
        """Run work that reads the home."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def start(self) -> None:
        """Begin to look."""
        self._tasks = [asyncio.create_task(task()) for task in (self._poll, self._poll_configs, self._tick)]

    def end(self) -> None:
        """Let all open pages go, so that the server can stop."""
        self._ended = True
        for client in self.clients:
            client.wake.set()

    async def stop(self) -> None:
        """End all work; open pages are let go."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self.do(self.reader.close)
        self._thread.shutdown()

    def publish(self, models: Iterable[str] = ()) -> None:
        """Tell all clients that models have changed."""
        self.revision += 1
        for client in self.clients:
            client.tell(models)

    async def events(self, since: int | None, summary: Callable[[str], str]) -> AsyncIterator[str]:
        """The events for one page, as text/event-stream; `since` is the revision that it shows.

        `changed` has the new revision, `model-NAME` names a model that it is about, `said` is a sentence for people, and
        `problem` says why the home cannot be read, if that is so.
        """
        client = Client(banner(self.reader.problem))
        if since is not None and since != self.revision:
            client.problem = None
            client.tell(())
        self.clients.add(client)
        try:
            yield "retry: 1000\n\n"
            while not self._ended:
                with suppress(TimeoutError):
                    await asyncio.wait_for(client.wake.wait(), self.heartbeat)
                client.wake.clear()
                if self._ended:
                    break
                if (problem := banner(self.reader.problem)) != client.problem:
                    client.problem = problem
                    yield _event("problem", problem)
                if not client.behind:
                    yield ": alive\n\n"
                    continue
                names, client.changed, client.behind = sorted(client.changed), set(), False
                if said := ". ".join(summary(name) for name in names[:_NAMED]):
                    yield _event("said", str(escape(said)))
                for name in filter(_NAME.fullmatch, names):
                    yield _event(f"model-{name}", str(self.revision))
                yield _event("changed", str(self.revision))
        finally:
            self.clients.discard(client)

    async def _poll(self) -> None:
        problem = None
        while True:
            changed = await self.do(self.reader.look)
            if not self.ready.is_set():
                self.ready.set()
                self.publish()
            elif self.reader.problem != problem:
                self.publish(self.reader.names())
            elif changed:
                self.publish(changed)
            problem = self.reader.problem
            await asyncio.sleep(self._pause)

    async def _poll_configs(self) -> None:
        await self.ready.wait()
        while True:
            if await asyncio.to_thread(self.reader.configs.read_changed):
                self.publish()
            await asyncio.sleep(_CONFIGS)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self.publish()


def _event(name: str, data: str) -> str:
    return f"event: {name}\ndata: {' '.join(data.split())}\n\n"
