"""Starts the processes that publish a model anew, one at a time for all workers."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

_LOCK, _LOG = "publishing.lock", "publishing.log"
_LONGEST: Final = 900.0  # seconds for which a child may run
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 120.0  # seconds after a failure
_LOG_BYTES: Final = 2**20


class Publisher:
    """The children of one model: `python -m trueup.orchestration.online MODEL ...`.

    A lock in the model's folder, which the child inherits, lets one worker's child run at a time. After a failure the
    next one waits, longer each time.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._model = folder, folder.name
        self._child: subprocess.Popen[bytes] | None = None
        self._started, self._not_before, self._pause = 0.0, 0.0, _FIRST_PAUSE
        self.failure: str | None = None  # of the last child

    def start(self, *words: str, deliver: bool = False) -> bool:
        """Start a child with these words, unless one runs, another worker's runs, or it is too early after a failure.

        With `deliver` it is `trueup reconcile`, which sends the events that wait.
        """
        module = ["trueup", "reconcile"] if deliver else ["trueup.orchestration.online"]
        command = [sys.executable, "-m", *module, self._model, *words]
        if self._child is not None or time.monotonic() < self._not_before:
            return False
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            self._failed(f"{self._folder} cannot be written: {error.strerror or error}")
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with self._log() as log:
                self._child = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, pass_fds=(lock,)
                )
            self._started = time.monotonic()
        except BlockingIOError:  # another worker's child runs
            return False
        except OSError as error:
            self._failed(f"{command[0]} cannot be started: {error.strerror or error}")
            return False
        finally:
            os.close(lock)  # the child has it
        return True

    def ended(self) -> bool | None:
        """Whether the child has ended well; None while it runs, or without one."""
        if self._child is None:
            return None
        if (code := self._child.poll()) is None:
            if time.monotonic() - self._started > _LONGEST:
                self._child.kill()
            return None
        self._child = None
        if code:
            self._failed(self._last_line() or f"the process that publishes ended with {code}")
            return False
        self.failure = None
        return True

    def wait_before_next(self) -> None:
        """Let the next child wait as after a failure: the last one changed nothing."""
        self._not_before = time.monotonic() + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def forget_waiting(self) -> None:
        """Let the next failure wait as after the first one: all is well."""
        self._pause = _FIRST_PAUSE

    def stop(self) -> None:
        """End the child that runs, if any. What it publishes is replaced in one step, so nothing is left half done."""
        if self._child is not None:
            self._child.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(5)
            if self._child.poll() is None:
                self._child.kill()
                self._child.wait()
            self._child = None

    def _failed(self, why: str) -> None:
        self.failure = why
        self.wait_before_next()

    def _log(self) -> Any:
        file = self._folder / _LOG
        too_large = file.exists() and file.stat().st_size > _LOG_BYTES
        return file.open("wb" if too_large else "ab")

    def _last_line(self) -> str:
        try:
            lines = (self._folder / _LOG).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""
