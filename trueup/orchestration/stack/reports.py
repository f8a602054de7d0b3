"""A read-only HTTP server for a home's reports: `python -m trueup.orchestration.stack.reports --host H --port P`.

Prefect's pages need it, because a browser follows no `file://` link on a page that came over HTTP.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import uvicorn
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from trueup.config.settings import Settings
from trueup.home import Home
from trueup.orchestration.stack.access import TokenOnly
from trueup.orchestration.stack.webhook import PATH, Inbox
from trueup.reporting.html import STYLE, template

_LISTED: Final = 200


def application(
    folder: Path,
    host: str = "127.0.0.1",
    token: str | None = None,
    fetch: Callable[[Path], object] | None = None,
    inbox: Inbox | None = None,
) -> Starlette:
    """Serve the files of a folder, never one outside it, and at its root a list of the newest pages.

    Unknown Host headers are rejected, because a page of another site could otherwise read the reports (DNS rebinding).
    With a token, each request needs it. `fetch` brings a file or folder up to date before it is served. With an `inbox`,
    MLflow's webhooks are received, too.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def newest(_request: Request) -> Response:
        if fetch is not None:
            fetch(folder)
        docs = (folder / "data_docs" / "index.html").exists()
        page = template("reports.html").render(style=Markup(STYLE), title="Reports", docs=docs, pages=_pages(folder))
        return HTMLResponse(page)

    received = [] if inbox is None else [Route(PATH, inbox.receive, methods=["POST"])]
    routes = [Route("/", newest), *received, Mount("/", _Fresh(folder, fetch))]
    names = {"127.0.0.1", "localhost", host, "" if inbox is None else inbox.host}
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=sorted(names - {"0.0.0.0", ""}))]
    if token is not None:
        guards.append(Middleware(TokenOnly, token=token, free=PATH if received else ""))
    return Starlette(routes=routes, middleware=guards)


class _Fresh(StaticFiles):
    """Static files that a browser revalidates each time, because they may be drawn again."""

    def __init__(self, folder: Path, fetch: Callable[[Path], object] | None) -> None:
        super().__init__(directory=folder, html=True)
        self._folder, self._fetch = folder, fetch

    async def get_response(self, path: str, scope: Scope) -> Response:
        if self._fetch is not None and ".." not in Path(path).parts:
            await run_in_threadpool(self._fetch, self._folder / path)
        return await super().get_response(path, scope)

    def file_response(self, *arguments: Any, **more: Any) -> Response:
        answer = super().file_response(*arguments, **more)
        answer.headers["Cache-Control"] = "no-cache"
        return answer


def _pages(folder: Path) -> list[dict[str, object]]:
    """The newest pages, each with its model, address, title and time."""
    files = [*folder.glob("dossiers/*/*.html"), *folder.glob("drift/*/*.html")]
    dated = sorted(((moment, page) for page in files if (moment := _written(page)) is not None), reverse=True)[:_LISTED]
    pages: list[dict[str, object]] = []
    for seconds, page in dated:
        path = page.relative_to(folder)
        kind, model, name = path.parts[:3]
        stem = name.removesuffix(".html")
        title = f"dossier, version {stem.rpartition('-v')[2]}" if kind == "dossiers" else f"drift, batch of {stem}"
        written = datetime.fromtimestamp(seconds, UTC)
        pages.append({"model": model, "path": quote(path.as_posix()), "title": title, "written": written})
    return pages


def _written(page: Path) -> float | None:
    """Time of the file in seconds; None if retention has removed it meanwhile."""
    try:
        return page.stat().st_mtime
    except FileNotFoundError:
        return None


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    settings = Settings()
    fetch = None if settings.address is None else Home(settings).fetched
    served = application(settings.root / "reports", arguments.host, settings.reports_token, fetch, Inbox(settings))
    uvicorn.run(served, host=arguments.host, port=arguments.port, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
