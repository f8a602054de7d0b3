"""Health checks of the programs."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
import tenacity

from trueup.orchestration.stack.access import authorization, bearer
from trueup.orchestration.stack.services import EVIDENTLY, MLFLOW, POOL, PREFECT, REPORTS, SERVE, UI, WORKER, Layout

_PATHS = {
    PREFECT: "/api/health",
    MLFLOW: "/health",
    EVIDENTLY: "/api/version",
    REPORTS: "/",
    SERVE: "/health/live",
    UI: "/health",
}
_SECONDS = 3.0


def healthy(layout: Layout, program: str, since: datetime) -> bool:
    """Whether a program answers; for the worker, whether the server has heard of it since `since` (wall clock, UTC)."""
    try:
        if program == WORKER:
            return _worker_beats(layout, since)
        who = bearer(layout.settings.reports_token) if program in {REPORTS, UI} else {}
        return _ask("GET", layout.address(program) + _PATHS[program], who).status_code == 200
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False


def _worker_beats(layout: Layout, since: datetime) -> bool:
    workers = post(f"{layout.api}/work_pools/{POOL}/workers/filter", {})
    beats = [w["last_heartbeat_time"] for w in workers if w["status"] == "ONLINE"]
    return any(datetime.fromisoformat(b.replace("Z", "+00:00")) > since for b in beats)


def post(url: str, body: Mapping[str, Any] | None, tries: int = 1, method: str = "POST") -> Any:
    """POST to Prefect's server, with retries after 503 (its SQLite is busy). Raises httpx.HTTPError, also for errors."""
    again = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_busy),
        stop=tenacity.stop_after_attempt(tries),
        wait=tenacity.wait_fixed(1),
        reraise=True,
    )
    answer = again(_ask, method, url, authorization(os.environ), body)
    return answer.json() if answer.content else None


def _ask(method: str, url: str, headers: Mapping[str, str], body: Mapping[str, Any] | None = None) -> httpx.Response:
    # The stack's own servers speak http, on this machine: they need no proxy, and no certificates, which take time to load.
    away = url.startswith("https:")
    answer = httpx.request(method, url, json=body, headers=headers, timeout=_SECONDS, trust_env=away, verify=away)
    return answer.raise_for_status()


def _busy(error: BaseException) -> bool:
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 503


def used(host: str, port: int) -> bool:
    """Whether a port of this machine is taken. Raises OSError for an address that it does not have."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ended connections do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise
            return True
    return False
