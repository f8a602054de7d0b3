"""The stack's processes, found by a mark in their environment, which children inherit whatever they do."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from trueup.orchestration.stack.services import HOME_MARK, PROGRAM_MARK

_FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # what Prefect tells a flow run's process, and its children with it
_ENGINES = {"prefect.engine", "flow-run"}  # the words by which such a process is started: a child proves nothing
_GRACE = 8.0  # seconds between the request to end and the end


def marked(home: Path, program: str | None = None) -> list[psutil.Process]:
    """Find a home's processes, or those of one program; not this process and those that started it."""
    kin = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in kin:
            continue
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # another user's, or gone
            continue
        if environment.get(HOME_MARK) == str(home) and program in (None, environment.get(PROGRAM_MARK)):
            found.append(process)
    return found


def alive() -> set[str]:
    """The ids of the flow runs whose process lives on this machine."""
    found = set()
    for process in psutil.process_iter():
        try:
            run = process.environ().get(_FLOW_RUN)
            if run and _ENGINES & set(process.cmdline()):
                found.add(run)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return found


def end(home: Path, program: str | None = None, grace: float = _GRACE) -> int:
    """End them, first with SIGTERM and then with SIGKILL, until none is left. Gives how many there were."""
    ended: set[int] = set()
    while processes := [p for p in marked(home, program) if p.status() != psutil.STATUS_ZOMBIE]:
        first = not ended
        for process in processes:
            try:
                process.terminate() if first and grace else process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(processes, timeout=grace if first and grace else 2.0)
        ended |= {p.pid for p in processes}
        grace = 0.0  # what is left, or was started meanwhile, is not asked
    return len(ended)
