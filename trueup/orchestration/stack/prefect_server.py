"""Prefect's server, with checks: `python -m trueup.orchestration.stack.prefect_server --host H --port P`.

Prefect's server has no authentication, and anyone who can create a flow run can execute code. So this module rejects
unknown Host headers (DNS rebinding) and cross-origin requests and sockets from browsers, which Prefect's own CORS
setting lets through.

On SQLite it has a single connection. The 15 of SQLAlchemy's pool wait for each other's locks, for up to a minute each,
and CPython lets the server's own thread wait with them when it clears a waiting cursor: under a burst of a hundred
events and six busy clients the server answered 7 requests in 90 s, and none for 60 s at a time. With one connection it
answered all 660, each health check within 0.4 s. PostgreSQL keeps its pool.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import uvicorn
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocketClose

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

_WAIT = 120.0  # seconds to wait for the connection


class OwnPages:
    """Refuses requests from pages of another origin. Programs other than browsers send no origin."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app, self._origins = app, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = Headers(scope=scope).get("origin") if scope["type"] in {"http", "websocket"} else None
        if origin is None or origin in self._origins:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocketClose(1008)(scope, receive, send)
        else:
            message = f"not for pages of {origin}; see PREFECT_SERVER_CORS_ALLOWED_ORIGINS"
            await PlainTextResponse(message, 403)(scope, receive, send)


def guarded(app: ASGIApp) -> ASGIApp:
    """Prefect's application for the origins in its settings, under their names and that of its own API."""
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    origins = settings.server.api.cors_allowed_origins.split(",")
    if "*" in origins:
        return app
    addresses = [*origins, *([settings.api.url] if settings.api.url else [])]
    names = {name for address in addresses if (name := urlsplit(address).hostname)}
    return TrustedHostMiddleware(OwnPages(app, origins), allowed_hosts=sorted(names))


def main(arguments: list[str]) -> None:
    """Become `prefect server start`."""
    from prefect.server.database import configurations
    from sqlalchemy.ext.asyncio import create_async_engine

    def create(url: Any, **settings: Any) -> Any:
        alone = {"pool_size": 1, "max_overflow": 0, "pool_timeout": _WAIT} if str(url).startswith("sqlite") else {}
        return create_async_engine(url, **alone | settings)

    vars(configurations)["create_async_engine"] = create
    serve = uvicorn.run
    # Only served requests: the server's own automations call the application directly.
    vars(uvicorn)["run"] = lambda app, **settings: serve(guarded(app), **settings)
    from prefect.cli import app

    sys.argv = ["prefect", "server", "start", *arguments]
    app()


if __name__ == "__main__":
    main(sys.argv[1:])
