"""A run by hand without a server: Prefect's own is begun early, and what takes long is imported while it starts.

Prefect starts a server of its own where none is named, once the first flow is called, and waits for it: in an empty home for a
quarter of a minute, and after that for half as long.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
from threading import Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.settings import Settings

_FOR_ONE_PROCESS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}


def begin_server(settings: Settings) -> None:
    """Start the server that Prefect is going to start for this process, as it would; it goes on to wait for it and to end it.

    Nothing is begun where there is a server to speak to. Call it before flows are imported, in the time that it takes.
    """
    if settings.api.url or not settings.server.ephemeral.enabled:
        return
    port = _free_port()
    begun = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
            *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--lifespan", "on"),
        ],
        env={**os.environ, **_FOR_ONE_PROCESS, **settings.to_environment_variables(exclude_unset=True)},
    )
    atexit.register(begun.terminate)  # a second time does nothing, and Prefect may never hear of it
    from prefect.server.api.server import SubprocessASGIServer

    server, again = SubprocessASGIServer(), SubprocessASGIServer()._run_uvicorn_command
    if server.running:
        begun.terminate()
        return
    first = iter([begun])
    server.port = port
    server._run_uvicorn_command = lambda: next(first, None) or again()  # type: ignore[method-assign]


def make_ready() -> None:
    """Import vendors and make MLflow's database in a thread until the server is up; call it right before a flow that trains.

    With a server that runs already there is nothing to wait for, and nothing is done.
    """
    from prefect.settings import get_current_settings

    if get_current_settings().api.url:
        return
    from prefect.server.api.server import SubprocessASGIServer

    from trueup.stages.ports import Ports

    port = SubprocessASGIServer().port
    Thread(target=Ports().make_ready, args=[lambda: not _listens(port)], name="ahead").start()


def _listens(port: int | None) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port or 0), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
