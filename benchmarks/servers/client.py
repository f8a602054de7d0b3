"""Load whose every answer is looked at, from one process: connections that each send a request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.servers.process import Server

OnAnswer = Callable[[int, int, bytes], None]  # the number of the request, status, body
_PATIENCE = 30.0  # seconds for one answer


@dataclass
class Seen:
    """What came of the requests of one run."""

    latencies_s: list[float] = field(default_factory=list)
    answered: int = 0
    refused: int = 0  # not 200
    lost: int = 0  # sent, and the connection ended without an answer

    def p99_ms(self) -> float:
        """The 99th percentile of latency."""
        ordered = sorted(self.latencies_s)
        return ordered[int(0.99 * (len(ordered) - 1))] * 1e3 if ordered else float("nan")


def run(
    server: Server,
    bodies: Iterator[tuple[int, bytes]],
    on_answer: OnAnswer,
    *,
    connections: int,
    seconds: float,
) -> Seen:
    """Send numbered bodies to a server until the time is over, the bodies are, or all connections are lost."""
    return asyncio.run(_run(server, bodies, on_answer, connections, seconds))


async def _run(
    server: Server, bodies: Iterator[tuple[int, bytes]], on_answer: OnAnswer, connections: int, seconds: float
) -> Seen:
    seen, loop = Seen(), asyncio.get_running_loop()
    head = _head(server)
    until = time.perf_counter() + seconds
    opened = [
        (
            await loop.create_connection(
                lambda: _Connection(head, bodies, on_answer, seen, until), "127.0.0.1", server.port
            )
        )[1]
        for _ in range(connections)
    ]
    await asyncio.wait([connection.ended for connection in opened], timeout=seconds + _PATIENCE)
    for connection in opened:
        connection.close()
    return seen


def _head(server: Server) -> bytes:
    """The head of each request, without the length of its body."""
    lines = [f"POST {server.ask.path} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in server.ask.headers.items()]
    return "\r\n".join(lines).encode() + b"\r\nContent-Length: "


class _Connection(asyncio.Protocol):
    """One connection; `ended` is done when it has sent its last request and has the answer, or is lost."""

    def __init__(
        self, head: bytes, bodies: Iterator[tuple[int, bytes]], on_answer: OnAnswer, seen: Seen, until: float
    ) -> None:
        self._head, self._bodies, self._on_answer, self._seen, self._until = head, bodies, on_answer, seen, until
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received, self._number, self._sent_at = b"", -1, 0.0
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (answer := self._answer()) is not None:
            status, body = answer
            self._seen.latencies_s.append(time.perf_counter() - self._sent_at)
            self._seen.answered += 1
            self._seen.refused += status != 200
            number, self._number = self._number, -1
            self._on_answer(number, status, body)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  (asyncio's signature)
        if self._number >= 0:
            self._seen.lost += 1
        if not self.ended.done():
            self.ended.set_result(None)

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _send(self) -> None:
        item = next(self._bodies, None) if time.perf_counter() < self._until else None
        if item is None or self._transport is None:
            if not self.ended.done():
                self.ended.set_result(None)
            return
        self._number, body = item
        self._sent_at = time.perf_counter()
        self._transport.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))

    def _answer(self) -> tuple[int, bytes] | None:
        """Status and body of a whole answer, which is taken from what was received; None as long as a part is missing."""
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = self._received[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return None
        body = self._received[end + 4 : end + 4 + length]
        self._received = self._received[end + 4 + length :]
        return int(head[9:12]), body
