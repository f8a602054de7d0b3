"""A run by hand without a server: Prefect's own is begun early, and what takes long is opened while it starts.

Where no server is named Prefect starts one of its own, once the first flow is called, and waits for it: in an empty home for a
quarter of a minute, and after that for half as long.
"""

from __future__ import annotations

import atexit
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING

import prefect

from trueup.orchestration.environment import listens
from trueup.orchestration.stack.health import used

if TYPE_CHECKING:
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import Settings

_FOR_ONE_PROCESS = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
_HOST = "127.0.0.1"
_SECONDS_TO_END = 5


def begin_server(settings: Settings) -> None:
    """Start the server that Prefect is going to start for this process; Prefect goes on to wait for it and to end it.

    Nothing is begun where there is a server to speak to. Call it before flows are imported, in the time that it takes.
    """
    if settings.api.url or not settings.server.ephemeral.enabled or _server() is not None:
        return
    port = _free_port()
    command = [sys.executable, "-m", "uvicorn", "--app-dir", str(prefect.__module_path__.parent), "--factory"]
    command += ["prefect.server.api.server:create_app", "--host", _HOST, "--port", str(port)]
    with Path(settings.home, "server.log").open("wb") as log:  # what it says is of no use to who waits for a run
        begun = subprocess.Popen(
            [*command, "--log-level", "error", "--lifespan", "on"],
            env={**os.environ, **_FOR_ONE_PROCESS, **settings.to_environment_variables(exclude_unset=True)},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    atexit.register(_end, begun)  # Prefect may never hear of it
    from prefect.server.api.server import SubprocessASGIServer

    # The command is that of `_run_uvicorn_command` in the locked Prefect; it is asked again when the port was taken meanwhile.
    server, first = SubprocessASGIServer(), iter([begun])
    again, server.port = server._run_uvicorn_command, port
    server._run_uvicorn_command = lambda: next(first, None) or again()  # type: ignore[method-assign]


@contextmanager
def opening_meanwhile() -> Iterator[None]:
    """Open vendors and MLflow's database in a thread, until the server that was begun is up or the block ends.

    What is being opened then is still opened to its end: an import that is broken off leaves half a module.
    """
    if (server := _server()) is None or server.running:
        yield
        return
    from trueup.home import Ports

    over = Event()
    waiting = [lambda: not over.is_set() and not listens(_HOST, server.port or 0)]
    Thread(target=Ports().make_ready, args=waiting, name="ahead").start()
    try:
        yield
    finally:
        over.set()


def _server() -> SubprocessASGIServer | None:
    """The server of this process, if one was begun; whoever has not imported it has none."""
    module = sys.modules.get("prefect.server.api.server")
    server: SubprocessASGIServer | None = module.SubprocessASGIServer() if module else None
    return server if server is not None and server.port is not None else None


def _free_port() -> int:
    """A port that nobody has now, and that is given to nobody who asks for any: the server takes it seconds later."""
    some = random.sample(range(8000, 9000), 100)
    # Where all of them are taken Prefect looks for another when its server has said so.
    return next((port for port in some if not used(_HOST, port)), some[0])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server, which hears of it only after its start."""
    process.terminate()
    try:
        process.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
