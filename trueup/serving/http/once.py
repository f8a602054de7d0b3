"""Answers to repeated requests: the same idempotency key gets the same answer, and is predicted and logged once."""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from trueup.serving.encoding.mistakes import Mistake
from trueup.serving.http.problems import Problem

LIMIT: Final = 10_000  # answers that are kept
BYTES: Final = 32 * 2**20  # of them together
_SLOTS: Final = 65_536
_DIGEST: Final = 16  # bytes


class _Kept(NamedTuple):
    digest: bytes
    answer: bytes


class Once:
    """The newest answers of one model by sender and key.

    Each process has its own. A request that is repeated to another process is predicted and logged again; of the
    predictions of a row the loop keeps the first, and `Counted` keeps the figures of a rollout from counting both.
    """

    def __init__(self, limit: int = LIMIT, size: int = BYTES) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._running: dict[tuple[str, str], tuple[bytes, asyncio.Future[bytes]]] = {}
        self._limit, self._size, self._bytes = limit, size, 0

    async def answer(
        self, sender: str, key: str, body: bytes, make: Callable[[], Awaitable[bytes]]
    ) -> tuple[bytes, bool]:
        """The answer to a request, made unless it was made already; and whether it was.

        `body` is all that the answer depends on. Raises Problem for a key that came with another body, and what `make`
        raises: then the request may be repeated.
        """
        place, digest = (sender, key), hashlib.blake2b(body, digest_size=16).digest()
        while (running := self._running.get(place)) is not None:
            _require_same(running[0], digest)
            await asyncio.wait([running[1]])
        if (kept := self._kept.get(place)) is not None:
            _require_same(kept.digest, digest)
            self._kept.move_to_end(place)
            return kept.answer, True
        done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._running[place] = digest, done
        try:
            answer = await make()
        finally:
            del self._running[place]
            done.set_result(b"")
        self._keep(place, _Kept(digest, answer))
        return answer, False

    def _keep(self, place: tuple[str, str], kept: _Kept) -> None:
        self._kept[place] = kept
        self._bytes += len(kept.answer)
        while len(self._kept) > self._limit or self._bytes > self._size:
            _, old = self._kept.popitem(last=False)
            self._bytes -= len(old.answer)


class Counted:
    """Which requests with an idempotency key were counted, by all workers of a server: the newest of each of 65,536 slots.

    `file` is shared by the workers; without one there is one process.
    """

    def __init__(self, file: Path | None = None) -> None:
        if file is None:
            self._slots = mmap.mmap(-1, _SLOTS * _DIGEST)
            return
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(handle, _SLOTS * _DIGEST)
            self._slots = mmap.mmap(handle, _SLOTS * _DIGEST)
        finally:
            os.close(handle)

    def first(self, request: bytes) -> bool:
        """Whether a request, by its `request_digest`, is counted for the first time; from now on it is not."""
        start = int.from_bytes(request[:4], "big") % _SLOTS * _DIGEST
        if self._slots[start : start + _DIGEST] == request:
            return False
        self._slots[start : start + _DIGEST] = request
        return True


def request_digest(model: str, sender: str, key: str, body: bytes) -> bytes:
    """What two requests have in common if one is the other once more."""
    named = "\0".join((model, sender, key)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(named + b"\0" + body, digest_size=_DIGEST).digest()


def _require_same(before: bytes, now: bytes) -> None:
    if before != now:
        mistake = Mistake("id", "was used for another request", "give each request a key of its own")
        raise Problem(422, "key-reused", f"the idempotency key {mistake.what}; {mistake.next}", errors=(mistake,))
