"""Access to the servers: from this machine only, or with a password.

On loopback every user of the machine is trusted. At any other address a server without authentication is not started,
because anyone who can create a flow run can execute code.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse

from trueup.errors import UsageError
from trueup.orchestration.stack.services import EVIDENTLY, MLFLOW, PREFECT, REPORTS, SERVE, UI, Layout
from trueup.serving.settings import tokens_file

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

SERVER_AUTH: Final = "PREFECT_SERVER_API_AUTH_STRING"
CLIENT_AUTH: Final = "PREFECT_API_AUTH_STRING"
_LEAST: Final = 12  # minimum length of a password for reachable servers


def require_guarded(layout: Layout, environment: Mapping[str, str]) -> None:
    """Raise UsageError, with everything that is missing, for a stack that others could reach without a password."""
    problems = [*_strings(environment), *([] if layout.settings.loopback else _unguarded(layout, environment))]
    if problems:
        lines = "\n".join(f"  {what}" for what in problems)
        raise UsageError(
            f"the stack was not started, because others could reach it at {layout.settings.host}:\n{lines}"
        )


def _strings(environment: Mapping[str, str]) -> Iterator[str]:
    """Problems of Prefect's passwords at any address. Messages never show them."""
    server, client = environment.get(SERVER_AUTH), environment.get(CLIENT_AUTH)
    if server is not None and not (server.isascii() and all(server.partition(":"))):
        yield f"{SERVER_AUTH} is not user:password in ASCII characters; write it like {SERVER_AUTH}=trueup:..."
    elif server is not None and client is not None and client != server:
        yield f"{CLIENT_AUTH} is not what {SERVER_AUTH} is, so that no flow could report; set both to the same, or only the latter"


def _unguarded(layout: Layout, environment: Mapping[str, str]) -> Iterator[str]:
    programs, elsewhere = layout.programs, "or leave TRUEUP_HOST out and use a tunnel (docs/operations.md)"
    if PREFECT in programs and len(environment.get(SERVER_AUTH, "").partition(":")[2]) < _LEAST:
        yield f"prefect has no authentication: set {SERVER_AUTH}=user:password (at least {_LEAST} characters), {elsewhere}"
    if REPORTS in programs and not layout.settings.reports_token:
        yield "reports has no authentication: set TRUEUP_REPORTS_TOKEN, or leave it out: TRUEUP_WITHOUT=reports"
    if UI in programs and not layout.settings.reports_token:
        yield "ui has no authentication: set TRUEUP_REPORTS_TOKEN, or leave it out: TRUEUP_WITHOUT=ui"
    if SERVE in programs and not tokens_file(layout.home).is_file():
        yield "serve has no tokens: make one with `trueup token add NAME`, or leave it out: TRUEUP_WITHOUT=serve"
    if MLFLOW in programs:
        yield (
            "mlflow has no authentication: its login needs Flask-WTF, which is not among the locked packages; leave it out: "
            "TRUEUP_WITHOUT=mlflow"
        )
    if EVIDENTLY in programs:
        yield "evidently has no login; leave it out: TRUEUP_WITHOUT=evidently"


def authorization(environment: Mapping[str, str]) -> dict[str, str]:
    """The Authorization header for Prefect's server; empty without authentication."""
    secret = environment.get(CLIENT_AUTH) or environment.get(SERVER_AUTH)
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}


def bearer(token: str | None) -> dict[str, str]:
    """The Authorization header for the reports' server and the live page."""
    return {"Authorization": f"Bearer {token}"} if token else {}


class TokenOnly:
    """Requires the token: a program sends it as a bearer token, a browser as the password of any user."""

    def __init__(self, app: ASGIApp, token: str, free: str) -> None:
        """Requests to the path `free` need no token: they have a signature, or there is nothing to hide."""
        self._app, self._token, self._free = app, token.encode(), free

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "lifespan"
            or scope["path"] == self._free
            or hmac.compare_digest(_brought(scope), self._token)
        ):
            await self._app(scope, receive, send)
            return
        challenge = {"WWW-Authenticate": 'Basic realm="Trueup; any name, and TRUEUP_REPORTS_TOKEN"'}
        await PlainTextResponse("authentication required", 401, challenge)(scope, receive, send)


def _brought(scope: Scope) -> bytes:
    scheme, _, credentials = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip().encode()
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(credentials, validate=True).partition(b":")[2]
        except ValueError:
            return b""
    return b""
