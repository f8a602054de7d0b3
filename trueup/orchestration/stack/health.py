"""Whether the programs answer."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
import urllib.error
import urllib.request
from datetime import datetime
from typing import Any

from trueup.orchestration.stack.access import authorization, bearer
from trueup.orchestration.stack.services import EVIDENTLY, MLFLOW, POOL, PREFECT, REPORTS, WORKER, Layout

_PATHS = {PREFECT: "/api/health", MLFLOW: "/health", EVIDENTLY: "/api/version", REPORTS: "/"}
_SECONDS = 3.0
# No proxy of the environment's: these are addresses of this machine.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def healthy(layout: Layout, program: str, since: datetime) -> bool:
    """Whether a program answers; the worker, whether the server has heard of it after `since` (wall clock, UTC)."""
    try:
        if program == WORKER:
            return _worker_beats(layout, since)
        who = bearer(layout.settings.reports_token) if program == REPORTS else {}
        request = urllib.request.Request(layout.address(program) + _PATHS[program], headers=who)
        with _OPENER.open(request, timeout=_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _worker_beats(layout: Layout, since: datetime) -> bool:
    workers = post(f"{layout.api}/work_pools/{POOL}/workers/filter", {})
    beats = [w["last_heartbeat_time"] for w in workers if w["status"] == "ONLINE"]
    return any(datetime.fromisoformat(b.replace("Z", "+00:00")) > since for b in beats)


def post(url: str, body: dict[str, Any], tries: int = 1, method: str = "POST") -> Any:
    """Ask Prefect's server, again where it says 503: its SQLite is busy. Raises OSError, also for an answer that says no."""
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json", **authorization(os.environ)}, method=method
    )
    for left in reversed(range(tries)):
        try:
            with _OPENER.open(request, timeout=_SECONDS) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or not left:
                raise
            time.sleep(1.0)
    raise AssertionError("unreachable: the last try returns or raises")


def used(host: str, port: int) -> bool:
    """Whether a port of one of this machine's addresses is taken. Raises OSError for an address that it has not."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ended connections do not count
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise
            return True
    return False
