"""The server's application: raw ASGI, because one route has to be fast and the others are few.

`App` finds the route, checks who asks, reads the body within its bounds, and turns every problem into an answer. What
may raise is in `predict`, `places` and the modules that they use.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

from trueup.serving.encoding.mistakes import Mistake
from trueup.serving.http.answers import ids
from trueup.serving.http.body import Disconnected, read_body, require_type
from trueup.serving.http.found import Found
from trueup.serving.http.once import Counted
from trueup.serving.http.places import Place, Places
from trueup.serving.http.predict import Asked, Predictor
from trueup.serving.http.problems import CONTENT_TYPE, Problem, refused_rows, retry_after
from trueup.serving.http.rows import checked_key
from trueup.serving.loading.served import Served
from trueup.serving.metrics import Metrics
from trueup.serving.tokens import Denied, Grant, Tokens
from trueup.serving.traces import Request, open_traces

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]

REFRESH_SECONDS: Final = 5.0  # between two updates of the figures that workers share
BODY_SECONDS: Final = 30.0  # within which the body of a request arrives
_LOCAL_HOSTS: Final = frozenset({b"localhost", b"127.0.0.1", b"[::1]", b""})
_SHOWN: Final = 4096  # bytes of a refused body in the log, with `serve.log_bodies`
_JSON: Final = (b"content-type", b"application/json")
_log: Final = logging.getLogger("trueup.serving")


class App:
    """Answers the requests for some models. For one event loop.

    `database` is the address of the home's database, for models with `durability: home`.
    """

    def __init__(self, served: Sequence[Served], tokens: Tokens, *, database: str = "") -> None:
        self.metrics = Metrics()
        new_id = ids()
        counted = Counted(None if self.metrics.folder is None else self.metrics.folder / "counted")
        self.predictors = {one.name: Predictor(one, self.metrics, new_id, database, counted) for one in served}
        self._tokens = tokens
        self._places = Places(self.predictors, self.metrics, lambda: tokens.open)
        self._ok = {name: self.metrics.requests.labels(name, "200") for name in self.predictors}
        self._seconds = {name: self.metrics.seconds.labels(name) for name in self.predictors}
        self._traces = open_traces()
        self._reading: dict[asyncio.Task[Any], float] = {}  # tasks that wait for a body, since when
        self._watching: asyncio.TimerHandle | None = None
        self._refreshing: asyncio.TimerHandle | None = None

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request, as ASGI asks."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        began, since = time.perf_counter(), time.time_ns() if self._traces is not None else 0
        headers: Headers = dict(scope["headers"])
        place = self._places.at(scope["path"])
        name, status, then = place.model if place is not None else "", 200, None
        try:
            content, extra, then = await self._answer(place, scope, headers, receive)
        except Disconnected:
            self._count(name, 499, began)
            return
        except Problem as problem:
            status, content, extra = problem.status, problem.body(), (_problem_type(), *problem.headers)
        except Exception:
            unexpected = self._unexpected(scope)
            status, content, extra = 500, unexpected.body(), (_problem_type(),)
        length = (b"content-length", str(len(content)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*extra, length]})
        await send({"type": "http.response.body", "body": content})
        self._count(name, status, began)
        if self._traces is not None:
            request = Request(scope["method"], scope["path"], name, status, since, time.time_ns())
            self._traces.add(request, headers)
        if then is not None:
            try:
                then()
            except Exception:  # the answer is out
                self._unexpected(scope)

    def note_refused(self) -> None:
        """Count a connection that was refused, because there were too many."""
        self.metrics.requests.labels("", "503").inc()

    def _count(self, model: str, status: int, began: float) -> None:
        if model in self._ok:
            self._seconds[model].observe(time.perf_counter() - began)
        if status == 200 and model in self._ok:
            self._ok[model].inc()
        else:
            self.metrics.requests.labels(model if model in self._ok else "", str(status)).inc()

    async def _answer(
        self, place: Place | None, scope: MutableMapping[str, Any], headers: Headers, receive: Receive
    ) -> Found:
        if place is None:
            raise self._places.unknown(scope["path"])
        method = scope["method"]
        if method != place.method and not (method == "HEAD" and place.method == "GET"):
            allowed = (b"allow", b"GET, HEAD" if place.method == "GET" else b"POST")
            raise Problem(405, "method", f"send {place.method} to {scope['path']}", headers=(allowed,))
        grant = self._granted(place, headers)
        if place.predict is not None:
            return await self._predicted(place, scope["query_string"], headers, receive, grant)
        return place.get()

    def _granted(self, place: Place, headers: Headers) -> Grant | None:
        """What the sender may do. Raises Problem."""
        if place.scope is None:
            return None
        if self._tokens.open:
            _require_local(headers.get(b"host", b""))
        try:
            grant = self._tokens.grant(headers.get(b"authorization"))
        except Denied as denied:
            if denied.wait is not None:
                raise Problem(429, "rate", str(denied), headers=(retry_after(denied.wait),)) from None
            raise Problem(401, "token", str(denied), headers=((b"www-authenticate", b"Bearer"),)) from None
        if not grant.allows(place.scope):
            raise Problem(403, "scope", f"the token {grant.name} has the scope {grant.scope}; {place.scope} is needed")
        return grant

    async def _predicted(
        self, place: Place, query: bytes, headers: Headers, receive: Receive, grant: Grant | None
    ) -> Found:
        predictor = self.predictors[place.model]
        serve = predictor.bundle().state.serve
        if predictor.held >= serve.queue:
            detail = f"{place.model}: {serve.queue} requests are held already"
            raise Problem(503, "busy", detail, headers=(retry_after(1),))
        require_type(headers, place.types)
        assert grant is not None
        assert place.predict is not None
        predictor.held += 1
        try:
            body = await self._body(receive, headers, int(serve.max_kib * 1024))
            key = headers.get(b"idempotency-key")
            idempotency = None if key is None else checked_key(key.decode("latin-1"))
            asked = Asked(grant, idempotency, _history_asked(query), test=_is_test(headers))
            try:
                answered = await place.predict(body, asked, headers)
            except Problem as problem:
                if serve.log_bodies and problem.status < 500:
                    _log.info("%s refused: %s: %r", place.model, problem.detail, body[:_SHOWN])
                raise
        finally:
            predictor.held -= 1
        return Found(answered.content, (_JSON, _AGAIN) if answered.again else (_JSON,), answered.then)

    async def _body(self, receive: Receive, headers: Headers, limit: int) -> bytes:
        """The body, if it arrives in time."""
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = time.monotonic()
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(1, self._watch)
        try:
            return await read_body(receive, headers, limit)
        except asyncio.CancelledError:
            if task in self._reading:  # not ended by `_watch`
                raise
            task.uncancel()
            raise Problem(
                408, "slow", f"the body did not arrive within {BODY_SECONDS:g} s", headers=(_CLOSE,)
            ) from None
        finally:
            self._reading.pop(task, None)

    def _watch(self) -> None:
        """End the waiting for bodies that take too long. One timer for all, as one for each request costs more."""
        before = time.monotonic() - BODY_SECONDS
        for task in [task for task, since in self._reading.items() if since < before]:
            del self._reading[task]
            task.cancel()
        self._watching = asyncio.get_running_loop().call_later(1, self._watch) if self._reading else None

    def _unexpected(self, scope: MutableMapping[str, Any]) -> Problem:
        """The problem of an exception that is being handled; its trace goes to the log under an id."""
        number = secrets.token_hex(4)
        _log.exception("mistake %s at %s %s", number, scope["method"], scope["path"])
        self.metrics.unexpected.inc()
        return Problem(500, "unexpected", f"the server's log has the cause under {number}; ask again later")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self.metrics.shared:
                    self._refresh()
                await send({"type": "lifespan.startup.complete"})
            else:
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _refresh(self) -> None:
        """Keep this worker's figures up to date for the others, of which any may be asked for all."""
        try:
            self._places.refresh()
        finally:
            self._refreshing = asyncio.get_running_loop().call_later(REFRESH_SECONDS, self._refresh)

    def close(self) -> None:
        """Write what the logs still hold, and the figures that other workers add to theirs."""
        if self._refreshing is not None:
            self._refreshing.cancel()
            self._places.refresh()
        for predictor in self.predictors.values():
            predictor.close()
        if self._traces is not None:
            self._traces.close()


_CLOSE: Final = (b"connection", b"close")
_AGAIN: Final = (b"idempotent-replayed", b"true")


def _problem_type() -> tuple[bytes, bytes]:
    return b"content-type", CONTENT_TYPE


def _history_asked(query: bytes) -> bool:
    """Whether the query asks for history features. Raises Problem for another value than 0 and 1."""
    if query in (b"", b"history=0", b"history=1"):
        return query == b"history=1"
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("history", ["0"])
    if not {*values} <= {"0", "1"} or len(values) > 1:
        said = ", ".join(values)[:100]
        raise refused_rows([Mistake("history", f"is {said!r} in the query", "give 1 for the history features, or 0")])
    return values == ["1"]


def _is_test(headers: Headers) -> bool:
    """Whether the header Trueup-Test makes a test of a request. Raises Problem for another value than 0 and 1."""
    value = headers.get(b"trueup-test", b"0")
    if value not in (b"0", b"1"):
        said = value.decode("latin-1")[:100]
        raise refused_rows([Mistake("Trueup-Test", f"is {said!r}", "give 1 for a test, or leave the header out")])
    return value == b"1"


def _require_local(host: bytes) -> None:
    """Without tokens only this machine may ask: not a page of another site whose name leads here, either."""
    name = host.rsplit(b":", 1)[0] if not host.endswith(b"]") else host
    if name not in _LOCAL_HOSTS:
        raise Problem(
            421,
            "host",
            f"without tokens only localhost may be asked, not {host.decode('latin-1')[:100]}; next: trueup token add NAME",
        )
