"""The processes of a server: one that answers, or a light parent with several that share its socket."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final

from trueup.errors import UsageError
from trueup.serving.settings import ServerSettings

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"
GRACE: Final = 30  # seconds for the requests that were accepted
_BACKLOG: Final = 2048
_OWN_FILES: Final = 256  # of a process that answers, at most: logs, models, and connections that are refused
_PAUSE: Final = 0.2  # seconds between two looks at the workers
_QUICK: Final = 5.0  # seconds; a worker that ends sooner is started again later each time
_LONGEST_PAUSE: Final = 30.0


def bound_socket(settings: ServerSettings) -> socket.socket:
    """The listening socket: the inherited one of a worker, or a new one. Raises UsageError."""
    if settings.socket is not None:
        return socket.socket(fileno=settings.socket)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise UsageError(
            f"{settings.host}:{settings.port} cannot be listened on: {error.strerror or error}; choose another with --host "
            "and --port, or end the program that has it"
        ) from None
    listening.listen(_BACKLOG)
    return listening


def allow_files(connections: int) -> None:
    """Let this process have so many connections open, beside its own files. Raises UsageError if it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OWN_FILES
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UsageError(
            f"--connections {connections} needs {needed} open files, and this account may have {hard}; raise that limit "
            f"(ulimit -Hn), or use --connections {max(1, hard - _OWN_FILES)}"
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def end_with_parent(parent: int) -> None:
    """End this worker when its parent is gone, however that ended: it would keep the port.

    The parent may be gone before this is called, so the worker is given its process id.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="parent", daemon=True).start()


class Workers:
    """The parent of several workers: it starts a dead one again, counts that, and ends them all with itself."""

    def __init__(self, settings: ServerSettings, words: Sequence[str]) -> None:
        self._settings, self._words = settings, list(words)
        self._folder = tempfile.mkdtemp(prefix="trueup-serving-")
        os.environ[MULTIPROCESS] = self._folder  # before prometheus_client is imported, here and in the workers
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._started: dict[int, float] = {}
        self._quick = dict.fromkeys(range(settings.workers), 0)  # ends in a row soon after the start
        self._due: dict[int, float] = {}
        self._ending = False

    def run(self) -> int:
        """Run until a signal comes; returns the exit code."""
        for end in (signal.SIGTERM, signal.SIGINT):
            signal.signal(end, self._end)
        listening = bound_socket(self._settings)
        os.set_inheritable(listening.fileno(), True)
        try:
            for number in range(self._settings.workers):
                self._start(number, listening.fileno())
            while not self._ending:
                self._look(listening.fileno())
                time.sleep(_PAUSE)
        finally:
            listening.close()
            self._stop()
            shutil.rmtree(self._folder, ignore_errors=True)
        return 0

    def _start(self, number: int, descriptor: int) -> None:
        command = [sys.executable, "-m", "trueup.serving", *self._words]
        command += ["--socket", str(descriptor), "--number", str(number), "--parent", str(os.getpid())]
        self._workers[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(descriptor,))
        self._started[number] = time.monotonic()

    def _look(self, descriptor: int) -> None:
        now = time.monotonic()
        for number, worker in list(self._workers.items()):
            if (code := worker.poll()) is None:
                continue
            del self._workers[number]
            self._quick[number] = self._quick[number] + 1 if now - self._started[number] < _QUICK else 0
            pause = min(2.0 ** self._quick[number] - 1, _LONGEST_PAUSE)
            self._due[number] = now + pause
            _count_restart(worker.pid)
            print(
                f"worker {number} ended with {code}; it is started again in {pause:.0f} s", file=sys.stderr, flush=True
            )
        for number, due in list(self._due.items()):
            if now >= due:
                del self._due[number]
                self._start(number, descriptor)

    def _end(self, _signal: int, _frame: FrameType | None) -> None:
        self._ending = True

    def _stop(self) -> None:
        """Let the workers answer what they accepted, and end."""
        for worker in self._workers.values():
            worker.terminate()
        deadline = time.monotonic() + GRACE + 5
        for worker in self._workers.values():
            try:
                worker.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


_restarts: Any = None


def _count_restart(pid: int) -> None:
    """Count in the metrics that all workers show, and take the dead worker's gauges from them."""
    global _restarts
    import prometheus_client
    import prometheus_client.multiprocess

    if _restarts is None:
        _restarts = prometheus_client.Counter(
            "trueup_worker_restarts", "Workers that ended and were started again.", registry=None
        )
    _restarts.inc()
    prometheus_client.multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
