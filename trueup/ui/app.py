"""The server of `trueup ui`: pages, their files, and the events that keep them live. It only reads."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.metrics.text import CONTENT_TYPE
from trueup.orchestration.stack.access import TokenOnly
from trueup.ui import forms, pages
from trueup.ui.explained import Explained
from trueup.ui.fleet import Row, row_of, rows
from trueup.ui.guards import ReadOnly
from trueup.ui.live import PAUSE, Live
from trueup.ui.reader import Facts, Reader
from trueup.ui.render import STATIC, page
from trueup.ui.scrapes import Scrapes
from trueup.ui.urgency import ORDER, words

_PATIENCE: Final = 10.0  # seconds that the server waits for the first look before it listens
_MOST: Final = 500  # open pages at once
_MONTH: Final = "public, max-age=2592000, immutable"


def application(settings: Settings, host: str = "127.0.0.1", pause: float = PAUSE) -> Starlette:
    """Serve the pages of a home, which need not exist yet; `pause` is the time between two looks at it, in seconds.

    Unknown Host headers are rejected, because a page of another site could otherwise read these (DNS rebinding). With
    `reports_token`, each request but that for the health needs it. A container (0.0.0.0) with a token answers to any
    name, because it does not know its own, and a browser gives the token to no other site.
    """
    ui = Ui(settings, pause)
    routes = [
        Route("/", ui.fleet),
        Route("/models/{name}", ui.model),
        Route("/models/{name}/explain", ui.explain),
        Route("/decisions/{seq:int}", ui.decision),
        Route("/ledger", ui.ledger),
        Route("/approvals", ui.approvals),
        Route("/approvals/{seq:int}/form", ui.form),
        Route("/events", ui.events),
        Route("/health", ui.health),
        Route("/metrics", ui.metrics),
        Route("/static/plotly.min.js", _plotly),
        Mount("/static", _Kept(directory=str(STATIC))),
    ]
    container = host == "0.0.0.0"
    named = {"127.0.0.1", "localhost", *(() if container else (host,))}
    names = ["*"] if container and settings.reports_token is not None else sorted(named)
    guards = [Middleware(ReadOnly), Middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)]
    if settings.reports_token is not None:
        guards.append(Middleware(TokenOnly, token=settings.reports_token, free="/health"))
    guards.append(Middleware(GZipMiddleware, minimum_size=2000, compresslevel=4))
    app = Starlette(routes=routes, middleware=guards, lifespan=ui.lifespan, exception_handlers={404: ui.missing})
    app.state.live = ui.live
    return app


class Ui:
    """The handlers of the routes."""

    def __init__(self, settings: Settings, pause: float) -> None:
        self.settings = settings
        self.reader = Reader(settings)
        self.live = Live(self.reader, pause)
        self.scrapes = Scrapes(settings)
        self.explained = Explained(settings)
        self._rows: tuple[int, list[Row]] = (0, [])

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Look at the home as long as the server runs."""
        self.live.start()
        try:
            with suppress(TimeoutError):  # whoever asks meanwhile is answered once the home was looked at
                await asyncio.wait_for(self.live.ready.wait(), _PATIENCE)
                await self.live.do(self._prepared)
            yield
        finally:
            await self.live.stop()
            await self.scrapes.stop()
            self.explained.stop()

    async def fleet(self, request: Request) -> Response:
        """All models, what needs a person first."""
        return await self._page(request, "fleet.html", self._fleet, active="/")

    async def model(self, request: Request) -> Response:
        """One model over time."""
        name = request.path_params["name"]

        def values() -> dict[str, Any] | None:
            facts = self.reader.facts.get(name) or (Facts(name) if name in self.reader.configs.names() else None)
            if facts is None:
                return None
            row = row_of(facts, self.reader.configs.get(name), self._now())
            config = self.reader.configs.get(name)
            columns = config.ingest.key if isinstance(config, ModelConfig) else []
            return pages.model(self.reader.home, facts, row) | {"columns": columns}

        return await self._page(request, "model.html", values, active="")

    async def explain(self, request: Request) -> Response:
        """One prediction of a model, and how its features made it."""
        name = request.path_params["name"]
        await self.live.ready.wait()
        if name not in self.reader.names():
            return await self.missing(request, LookupError())
        values = await self.explained.values(name, dict(request.query_params))
        return await self._page(request, "explain.html", lambda: values, active="")

    async def decision(self, request: Request) -> Response:
        """One decision with its evidence."""
        seq = request.path_params["seq"]
        return await self._page(
            request, "decision.html", lambda: pages.decision(self.reader.home, seq), active="", from_home=True
        )

    async def ledger(self, request: Request) -> Response:
        """All decisions, and what served at a time."""
        asked = dict(request.query_params)
        return await self._page(
            request, "ledger.html", lambda: pages.ledger(self.reader, asked), active="/ledger", from_home=True
        )

    async def approvals(self, request: Request) -> Response:
        """What waits for a person."""
        return await self._page(
            request,
            "approvals.html",
            lambda: pages.approvals(self.reader, self._current(), forms.server()),
            active="/approvals",
            from_home=True,
        )

    async def form(self, request: Request) -> Response:
        """Go on to Prefect's form of an approval."""
        address = await run_in_threadpool(forms.address, request.path_params["seq"])
        if address is not None:
            return RedirectResponse(address, 302)
        words = (
            "Prefect has no open form for this approval: it was decided, or its flow run has not started yet. The command on "
            "the page of approvals works without it."
        )
        return await self._page(request, "message.html", lambda: {"title": "No form", "text": words}, "", 404)

    async def events(self, request: Request) -> Response:
        """Server-sent events; see `Live.events`."""
        since = request.query_params.get("since", "")
        if request.method == "HEAD":  # a stream would never end
            return Response(media_type="text/event-stream")
        if len(self.live.clients) >= _MOST:
            return Response("too many open pages", 503, {"Retry-After": "30"}, "text/plain")
        await self.live.ready.wait()
        stream = self.live.events(int(since) if since.isdecimal() and len(since) < 19 else None, self._summary)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})

    async def health(self, _request: Request) -> Response:
        """Answers once the home was looked at."""
        await self.live.ready.wait()
        return Response("ok", media_type="text/plain")

    async def metrics(self, _request: Request) -> Response:
        """The figures of the whole loop, for Prometheus."""
        await self.live.ready.wait()
        return Response(await self.scrapes.text(self.reader.home), media_type=CONTENT_TYPE)

    async def missing(self, request: Request, _error: Exception) -> Response:
        """There is no such page."""
        values = {"title": "Not found", "text": "There is no such page in this home."}
        return await self._page(request, "message.html", lambda: values, "", 404)

    async def _page(
        self,
        request: Request,
        template: str,
        values: Callable[[], dict[str, Any] | None],
        active: str,
        status: int = 200,
        from_home: bool = False,
    ) -> Response:
        await self.live.ready.wait()
        query = f"?{request.url.query}" if request.url.query else ""
        common: dict[str, Any] = {"active": active, "here": f"{request.url.path}{query}"}

        def made() -> tuple[str | None, int]:
            common.update(revision=self.live.revision, problem=self.reader.problem)
            found: dict[str, Any] | None
            try:
                if away := from_home and self.reader.home is None and self.reader.problem is not None:
                    found = {"title": "Not now", "text": "This page comes from the home. Try again in a moment."}
                else:
                    found = values()
            except (TrueupError, SQLAlchemyError) as error:
                common["problem"], away = str(error).splitlines()[0], True
                found = {"title": "Not now", "text": "Try again in a moment."}
            if found is None:
                return None, 404
            return page("message.html" if away else template, **common, **found), 503 if away else status

        found, code = await self.live.do(made)
        return await self.missing(request, LookupError()) if found is None else HTMLResponse(found, code)

    def _prepared(self) -> None:
        """Make the first page before it is asked for."""
        page("fleet.html", active="/", here="/", revision=0, problem=None, **self._fleet())

    def _fleet(self) -> dict[str, Any]:
        current = self._current()
        counts = Counter(row.needs[0] for row in current)
        nothing = (
            f"Neither {self.settings.configs} has a config nor has the home {self.settings.home} a decision; `trueup new` "
            "writes a config, and `trueup run MODEL` turns the loop."
        )
        ordered = sorted(counts.items(), key=lambda item: ORDER.index(item[0]))
        return {"rows": current, "counts": ordered, "nothing": nothing}

    def _current(self) -> list[Row]:
        """The rows of the present revision."""
        if self._rows[0] != self.live.revision:
            names = self.reader.names()
            facts = [self.reader.facts.get(name) or Facts(name) for name in names]
            configs = {name: self.reader.configs.get(name) for name in names}
            self._rows = self.live.revision, rows(facts, configs, self._now())
        return self._rows[1]

    def _now(self) -> datetime:
        return self.reader.now() or datetime.now(UTC)

    def _summary(self, name: str) -> str:
        """What has changed about a model, as a screen reader says it."""
        facts = self.reader.facts.get(name)
        if facts is None or facts.newest is None:
            return f"{name} changed"
        last = facts.newest
        return f"{name}: batch until {last.window.end:%Y-%m-%d}, {words(last.body.diagnosis)}"


class _Kept(StaticFiles):
    """Files that a browser keeps: their addresses change with their content."""

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        answer = super().file_response(*arguments, **more)
        answer.headers["Cache-Control"] = _MONTH
        return answer


async def _plotly(_request: Request) -> Response:
    """Plotly's script, from its Python package, which is not imported for it."""
    package = find_spec("plotly")
    assert package is not None  # one of the dependencies
    assert package.origin is not None
    file = Path(package.origin).parent / "package_data" / "plotly.min.js"
    return FileResponse(file, media_type="text/javascript", headers={"Cache-Control": _MONTH})
