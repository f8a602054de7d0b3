"""One Prefect server for all tests of flows, and a home that they share the way into."""

import json
import logging
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests import streams
from trueup.adapters.background import NoReports


@pytest.fixture(scope="session")
def prefect_server():
    """The address of a Prefect server of our own, for this process and those it starts."""
    import prefect.utilities.math
    import websockets.asyncio.connection
    import websockets.client
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    # Prefect's thread for events pings its server to the end of the session, with a payload out of the global generator,
    # which Hypothesis has seeded: whatever example is being drawn at that moment would be another the next time.
    for module in (websockets.asyncio.connection, websockets.client, prefect.utilities.math):
        module.random = random.Random()

    with prefect_test_harness(server_startup_timeout=300):
        yield PREFECT_API_URL.value()


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


class CommandLine:
    """The command line on a folder with `configs` and a home."""

    def __init__(self, folder: Path, monkeypatch, capsys, home: Path | None = None) -> None:
        self.folder, self.home = folder, home or folder / "home"
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("TRUEUP_HOME", str(self.home))
        monkeypatch.setenv("TRUEUP_CONFIGS", str(folder / "configs"))
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *words: str) -> Answer:
        """Say a command in this process."""
        from trueup.cli.main import main

        self._monkeypatch.setattr(sys, "argv", ["trueup", *words])
        # Click names a program that was started by `python -m` after its package, which is pytest's here.
        self._monkeypatch.setattr(sys.modules["__main__"], "__package__", None, raising=False)
        # Prefect's handler writes to the stderr that the first test of the process had: gone, and logging would say so.
        self._monkeypatch.setattr(logging, "raiseExceptions", False)
        self._capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)

    def apart(self, *words: str, **environment: str) -> Answer:
        """Say a command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", "from trueup.cli.main import main; main()", *words],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
            env={**os.environ, **environment},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def landed(self) -> list[str]:
        """Data that lies in the home."""
        return [str(p.relative_to(self.home)) for p in self.home.rglob("*") if p.suffix in {".parquet", ".tmp"}]


@pytest.fixture
def no_server():
    """No Prefect server is configured, though the session's may have been started for an earlier test of this process."""
    if "prefect" not in sys.modules:
        yield
        return
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        yield


@pytest.fixture
def command_line(monkeypatch, capsys):
    """Makes the command line on a folder with configs, and a home in it or elsewhere."""
    monkeypatch.setattr("trueup.home.shared", NoReports)
    return lambda folder, home=None: CommandLine(folder, monkeypatch, capsys, home)


@pytest.fixture
def trueup(tmp_path, monkeypatch, capsys):
    """The command line; `trueup.folder` is where configs and home are."""
    streams.write(tmp_path, streams.Stream(days=14, per_day=20).frame())
    return CommandLine(tmp_path, monkeypatch, capsys)


class Answering:
    """An HTTP server that answers every POST with one status, and keeps what was said."""

    def __init__(self, status: int) -> None:
        self.received: list[tuple[str, bytes]] = []  # paths and bodies
        self.headers: list[dict] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((self.path, body))
                outer.headers.append(dict(self.headers))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def bodies(self) -> list[dict]:
        """What was said, as JSON."""
        return [json.loads(body) for _, body in self.received]

    def close(self) -> None:
        """Let the port go."""
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def answering():
    """Start servers that answer with a status."""
    started = []

    def start(status: int) -> Answering:
        started.append(Answering(status))
        return started[-1]

    yield start
    for server in started:
        server.close()
