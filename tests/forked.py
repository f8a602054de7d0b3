"""Work in a process of its own, forked from this one, which has imported everything: to be killed costs no second start.

The parent must not have opened the home that the child works on: connections to SQLite do not survive a fork.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import BytesIO, TextIOWrapper
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from signal import SIGKILL
from typing import Any

from threadpoolctl import threadpool_limits

from tests.fixtures import Answer
from trueup.adapters.background import NoReports
from trueup.crash import CRASH_AT

_FORK = get_context("fork")


class Killed(Exception):
    """The child reached the crash point."""


class Started:
    """A child at work on `what(*args)`; its `result` is what that returns."""

    def __init__(self, what: Callable[..., Any], *args: Any, crash_at: str | None = None) -> None:
        self._answer, theirs = _FORK.Pipe(duplex=False)
        self.process = _FORK.Process(target=_work, args=(theirs, what, args, crash_at))
        self.process.start()
        theirs.close()

    def result(self, timeout: float = 300) -> Any:
        """Raises Killed for a process that was killed, what the child raised, TimeoutError."""
        try:
            if not self._answer.poll(timeout):
                self.process.kill()
                raise TimeoutError(f"no result within {timeout:g} s")
            kind, value = self._answer.recv()
        except EOFError:
            kind, value = "died", None
        finally:
            self.process.join(30)
            self._answer.close()
        if kind == "died":
            assert self.process.exitcode == -SIGKILL, self.process.exitcode
            raise Killed
        if kind == "raised":
            raise value
        return value


def forked(what: Callable[..., Any], *args: Any, crash_at: str | None = None, timeout: float = 300) -> Any:
    """Call it in a child that dies at a crash point, if one is named, and wait for the end. Raises what `result` does."""
    return Started(what, *args, crash_at=crash_at).result(timeout)


def command(folder: Path, *words: str) -> Answer:
    """Say a command on the home and the configs in a folder; for a child, whose environment this changes."""
    from trueup import home
    from trueup.cli.main import main

    home.shared = NoReports
    os.environ |= {"TRUEUP_HOME": str(folder / "home"), "TRUEUP_CONFIGS": str(folder / "configs")}
    sys.argv, code = ["trueup", *words], 0
    out, err = (TextIOWrapper(BytesIO(), encoding="utf-8") for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    said = [stream.seek(0) or stream.read() for stream in (out, err)]
    return Answer(code, *said)


def _work(answer: Connection, what: Callable[..., Any], args: tuple[Any, ...], crash_at: str | None) -> None:
    if crash_at is not None:
        os.environ[CRASH_AT] = crash_at
    with threadpool_limits(1):  # OpenMP's threads are not there after a fork
        try:
            answer.send(("returned", what(*args)))
        except Exception as error:
            answer.send(("raised", _sendable(error)))


def _sendable(error: Exception) -> Exception:
    """The error, if it comes out of a pipe as it went in."""
    said = traceback.format_exc()
    try:
        again: Exception = pickle.loads(pickle.dumps(error))
    except Exception:
        again = RuntimeError(str(error))
    again.add_note(said)
    return again
