"""Finds the stack's processes by a mark in their environment, which children inherit."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

from trueup.orchestration.stack.services import HOME_MARK, PROGRAM_MARK

_FLOW_RUN = "PREFECT__FLOW_RUN_ID"  # Prefect's variable for a flow run's process and its children
_ENGINES = {"prefect.engine", "flow-run"}  # the command of such a process; its children do not count
_GRACE = 8.0  # seconds between SIGTERM and SIGKILL


def marked(home: Path, program: str | None = None) -> list[psutil.Process]:
    """Find a home's processes, or those of one program, without this process and its parents."""
    kin = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
    processes = []
    for process in psutil.process_iter():
        if process.pid in kin:
            continue
        try:
            environment = process.environ()
        except (psutil.Error, OSError):  # another user's, or gone
            continue
        if environment.get(HOME_MARK) == str(home) and program in (None, environment.get(PROGRAM_MARK)):
            processes.append(process)
    return processes


def alive() -> set[str]:
    """The ids of the flow runs with a live process on this machine."""
    flow_runs = set()
    for process in psutil.process_iter():
        try:
            run = process.environ().get(_FLOW_RUN)
            if run and _ENGINES & set(process.cmdline()):
                flow_runs.add(run)
        except (psutil.Error, OSError):  # another user's, or gone
            continue
    return flow_runs


def end(home: Path, program: str | None = None, grace: float = _GRACE) -> int:
    """End processes, first with SIGTERM and then with SIGKILL, until none is left. Returns their number."""
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
        grace = 0.0  # the rest, and those started meanwhile, get SIGKILL
    return len(ended)
