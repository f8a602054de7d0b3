"""A connection of the server. Uvicorn bounds neither the size of a request's head nor the time it takes to arrive.

A request that is refused before its body was read is answered at once, and what is still sent of it is thrown away for a
while: if the connection were closed, many clients would report a lost connection and not show the answer.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trueup.serving.http.problems import CONTENT_TYPE, Problem, retry_after

HEAD_BYTES: Final = 64 * 1024  # of a head that arrives in several parts
HEAD_SECONDS: Final = 30.0  # within which a head arrives, or the rest of a body that nobody reads
REFUSED_SECONDS: Final = 1.0  # within which a connection too many sends something, to be answered
_REFUSED: Final = 128  # connections too many that are answered; further ones are closed at once

_REASONS: Final = {
    400: b"Bad Request",
    408: b"Request Timeout",
    431: b"Request Header Fields Too Large",
    503: b"Service Unavailable",
}


class Connection(HttpToolsProtocol):
    """Reads requests as uvicorn does, and closes a connection whose next head is too large or too slow."""

    limit: ClassVar[float] = math.inf  # of open connections of a process

    _too_many = False  # whether this connection is beyond the limit
    _since = 0.0  # the loop's time from which the next head is awaited; 0 while a request is answered
    _body = False  # whether a body is still to arrive
    _head = 0  # bytes of it, without the first part
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a head."""
        super().connection_made(transport)
        if (beyond := len(self.connections) - self.limit) > 0:
            self._refuse_later(transport, at_once=beyond > _REFUSED)
            return
        self._since = self.loop.time()
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the timer."""
        super().connection_lost(exc)
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        if self._too_many:
            self._refuse(_busy())
            return
        began = self._since
        super().data_received(data)
        if began and began == self._since and not self._body:  # the same head is not whole yet
            self._head += len(data)
            if self._head > HEAD_BYTES:
                self._refuse(Problem(431, "large-head", f"the head may have {HEAD_BYTES // 1024} KiB; send less of it"))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Answer a client that has sent a whole request and closed its side, and close then."""
        cycle = self.cycle
        if cycle is None or cycle.response_complete or self._body or self.transport.get_extra_info("sslcontext"):
            return False
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._since, self._head = self.loop.time(), 0

    def on_headers_complete(self) -> None:
        """End a head."""
        self._since, self._body = 0.0, True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """End a body."""
        self._body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next head, unless it is here already."""
        super().on_response_complete()
        if not self._since and self.cycle.response_complete:
            self._since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse(Problem(400, "not-http", f"{msg.rstrip('.')}; send HTTP/1.1"))

    def _note_refused(self) -> None:
        """Count a connection too many, see `limited`."""

    def _refuse_later(self, transport: asyncio.Transport, *, at_once: bool) -> None:
        """Answer a connection too many when it sends something: closed before, most clients would show no answer."""
        self._too_many = True
        self._note_refused()
        if at_once:
            transport.abort()
        else:
            self._timer = self.loop.call_later(REFUSED_SECONDS, self._refuse, _busy())

    def _look(self) -> None:
        """Close the connection if its head is late. One timer for a connection, as one for a request costs more."""
        now = self.loop.time()
        left = self._since + HEAD_SECONDS - now if self._since else HEAD_SECONDS
        if left <= 0 and self._body:  # of a request that was answered
            self.transport.close()
        elif left <= 0:
            self._refuse(Problem(408, "slow-head", f"the head did not arrive within {HEAD_SECONDS:g} s"))
        else:
            self._timer = self.loop.call_later(left, self._look)

    def _refuse(self, problem: Problem) -> None:
        """Answer without the application, and close the connection."""
        if self.transport.is_closing():
            return
        content = problem.body()
        lines: list[Any] = [
            b"HTTP/1.1 %d %s" % (problem.status, _REASONS[problem.status]),
            b"content-type: " + CONTENT_TYPE,
            b"content-length: %d" % len(content),
            b"connection: close",
            *(name + b": " + value for name, value in problem.headers),
        ]
        self.transport.write(b"\r\n".join([*lines, b"", content]))
        self.transport.close()


def limited(limit: int, note_refused: Callable[[], None]) -> type[Connection]:
    """The class of the connections of a process that has at most `limit` at once, with what counts a refused one.

    Uvicorn's `limit_concurrency` counts connections, too, but then refuses the next request of each of them, also of those
    that were there before, and without `Retry-After`.
    """
    return type("Connection", (Connection,), {"limit": limit, "_note_refused": lambda _: note_refused()})


def _busy() -> Problem:
    return Problem(
        503, "busy", "the server has as many connections as it may; try again soon", headers=(retry_after(1),)
    )
