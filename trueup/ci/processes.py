"""Runs a side's processes: apart from ours, within a limit of time, and with their cost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_LOOKS = 0.1  # seconds between looks at a process
_OUTPUT = 20_000  # bytes kept of the end of an output


@dataclass(frozen=True)
class Ran:
    """An ended process: its exit code (None if it was ended at the limit), the end of its output, and its cost."""

    code: int | None
    output: str
    seconds: float
    cpu_seconds: float
    memory_mib: float


def run(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    limit: float,
    meanwhile: Callable[[], None] = lambda: None,
) -> Ran:
    """Run a process group of its own until it ends, or for `limit` seconds; `meanwhile` is called while it runs."""
    started = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(command),
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None = None
        try:
            while True:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                if pid:
                    code = os.waitstatus_to_exitcode(status)
                    break
                if time.monotonic() - started > limit:
                    _end(process.pid)
                    _, _, usage = os.wait4(process.pid, 0)
                    break
                meanwhile()
                time.sleep(_LOOKS)
        except BaseException:
            _end(process.pid)
            with suppress(ChildProcessError):
                os.wait4(process.pid, 0)
            raise
        finally:
            process.returncode = -1 if code is None else code  # it was waited for here
            _end(process.pid)  # what it started and left behind
    memory = usage.ru_maxrss / 1024
    return Ran(code, _tail(log), time.monotonic() - started, usage.ru_utime + usage.ru_stime, memory)


def _end(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _tail(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _OUTPUT))
        return file.read().decode(errors="replace")
