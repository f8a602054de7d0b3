"""A server in its own processes: how long it takes to start, its memory, and the CPU time that it uses. Linux only."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.free import free_port

_PATIENCE = 180.0  # seconds until a server has to answer
_GRACE = 20.0


@dataclass(frozen=True)
class Ask:
    """A request that a server answers with 200 when it predicts."""

    path: str
    bodies: Path  # one JSON text a line; the requests take them in turn
    headers: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None  # a path to get instead, to see that the server predicts; default: the request itself

    def first(self) -> bytes:
        """The first body."""
        with self.bodies.open("rb") as file:
            return file.readline().rstrip(b"\n")


class Server:
    """A server that was started, from its start until `stop`; `{port}` in the command stands for its port.

    `started_s` are the seconds until it answered `ask` with 200. With `cpus` it and its children run on these only.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        ask: Ask,
        log: Path,
        *,
        cpus: set[int] | None = None,
        **environment: str,
    ) -> None:
        self.name, self.ask, self.port, self.log = name, ask, free_port(), log
        words = [word.replace("{port}", str(self.port)) for word in command]
        begun = time.perf_counter()
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                words,
                stdout=out,
                stderr=out,
                env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None,
                start_new_session=True,
            )
        try:
            self._wait_for_answer()
        except BaseException:
            self.kill()
            raise
        self.started_s = time.perf_counter() - begun

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def post(self, body: bytes | None = None) -> tuple[int, bytes]:
        """Send one body, by default the first one; returns status and answer."""
        return self._request("POST", self.ask.path, self.ask.first() if body is None else body)

    def get(self, path: str) -> tuple[int, bytes]:
        """Get a path."""
        return self._request("GET", path, None)

    def _request(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **self.ask.headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def _wait_for_answer(self) -> None:
        until, last = time.monotonic() + _PATIENCE, "no connection"
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self._end_of_log()}")
            with suppress(OSError, http.client.HTTPException):
                status, answer = self.post() if self.ask.ready is None else self.get(self.ask.ready)
                if status == 200:
                    return
                last = f"{status}: {answer[:500]!r}"
            time.sleep(0.01)
        raise RuntimeError(f"{self.name} did not answer in {_PATIENCE:g} s ({last}):\n{self._end_of_log()}")

    def _end_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def processes(self) -> list[psutil.Process]:
        """The server's processes."""
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def cpu_s(self) -> float:
        """User and system time of all its processes until now, in seconds."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
        return total

    def pss_mib(self) -> float:
        """Memory of all its processes; what n processes share counts 1/n in each."""
        total = 0.0
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss / 2**20
        return total

    def kill(self) -> None:
        """End all its processes at once (SIGKILL)."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and kill what is left after a while."""
        family = self.processes()
        self.process.terminate()
        _, alive = psutil.wait_procs(family, timeout=_GRACE)
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()


def empty(bodies: Path, log: Path, cpus: set[int] | None = None) -> Server:
    """The application that does nothing, on uvicorn with httptools and uvloop."""
    application = "benchmarks.servers.empty:application"
    options = [
        "--loop",
        "uvloop",
        "--http",
        "httptools",
        "--lifespan",
        "off",
        "--no-access-log",
        "--log-level",
        "error",
    ]
    command = [sys.executable, "-m", "uvicorn", application, "--port", "{port}", *options]
    return Server("empty application", command, Ask("/", bodies), log, cpus=cpus)


def mlflow(model: str, bodies: Path, log: Path, cpus: set[int] | None = None) -> Server:
    """`mlflow models serve` of a folder with a model's files, in this environment."""
    options = ["--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}"]
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", model, *options]
    return Server(
        "mlflow models serve",
        command,
        Ask("/invocations", bodies),
        log,
        cpus=cpus,
        MLFLOW_TRACKING_URI=f"sqlite:///{log.parent / 'unused.db'}",
        MLFLOW_DISABLE_TELEMETRY="true",
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",  # it starts uvicorn by name
    )
