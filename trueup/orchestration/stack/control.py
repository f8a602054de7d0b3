"""Start, stop and inspect the stack of one home."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from trueup import files
from trueup.config.project import FILE, project_root
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.orchestration.recovery import interrupted_runs, processes
from trueup.orchestration.stack import health
from trueup.orchestration.stack.access import require_guarded
from trueup.orchestration.stack.deploy import deploy, in_one_line
from trueup.orchestration.stack.services import PREFECT, WORKER, Layout
from trueup.orchestration.stack.supervision import GAVE_UP, Supervisor
from trueup.orchestration.stack.webhook import registered

_PAUSE = 0.25
_SHUTDOWN = 45.0  # seconds for supervisord to end its programs; each program has 10

Say = Callable[[str], None]


@dataclass(frozen=True)
class Status:
    """The state of the stack."""

    running: bool  # the process manager runs
    ready: bool  # the start was completed
    addresses: dict[str, str]
    programs: dict[str, str]  # the state of each program
    pids: dict[str, int]

    @property
    def down(self) -> list[str]:
        return [program for program, state in self.programs.items() if state not in {"RUNNING", "STARTING"}]


def here(settings: Settings | None = None) -> Layout:
    """The stack of the environment's home, run from the project of the current folder. Raises UsageError."""
    project = project_root()
    if not (project / FILE).is_file():
        raise UsageError(f"there is no {FILE} in {project}; change to the project's folder")
    return Layout(settings or Settings(), project)


def up(layout: Layout, seconds: float, say: Say) -> bool:
    """Start the stack and wait until every program answers; False if it ran already.

    A half-started stack is completed. Remains of an earlier one (after a crash of the machine, or a killed process
    manager) are removed first. After a failure nothing is left running. Raises WorkError, UsageError.
    """
    require_guarded(layout, os.environ)
    with _alone(layout):
        supervisor = Supervisor(layout)
        if supervisor.pid() is not None:
            layout = _as_started(layout)
            if _read(layout).get("ready"):
                return False
            say("an earlier start was not completed; continuing it")
        else:
            _clear(layout, say)
            _prepare(layout)
        try:
            _bring_up(layout, supervisor, time.monotonic() + seconds, seconds, say)
        except BaseException:
            _end(layout, supervisor)
            raise
        return True


def _bring_up(layout: Layout, supervisor: Supervisor, deadline: float, seconds: float, say: Say) -> None:
    since, log = datetime.now(UTC), layout.logs / "supervisord.log"
    offset = log.stat().st_size if log.exists() else 0
    if supervisor.pid() is None:
        _write(layout, ready=False)
        process = supervisor.start(layout.environment(os.environ))
        while supervisor.pid() is None:
            if process.poll() is not None:
                raise WorkError(f"the process manager ended at once: {_last_error(layout.logs / 'start.log')}")
            _pause(deadline, "the process manager", seconds, log)
    waiting = list(layout.programs)

    def wait_for(program: str) -> None:
        while not health.healthy(layout, program, since):
            _still_starting(supervisor, layout, offset)
            _pause(deadline, program, seconds, layout.logs / f"{program}.log")
        waiting.remove(program)
        say(f"{program} is up")

    wait_for(PREFECT)
    for line in deploy(layout.project, layout.environment(os.environ), layout.logs / "deploy.log", here=True).lines():
        say(line)
    if not processes.marked(layout.home, WORKER) and (count := interrupted_runs.end_all(layout.api)):
        say(f"{count} flow runs were interrupted with an earlier stack; those without a schedule are restarted")
    supervisor.start_stopped()
    while waiting:
        wait_for(waiting[0])
    for line in registered(layout):
        say(line)
    _write(layout, ready=True)


def _still_starting(supervisor: Supervisor, layout: Layout, offset: int) -> None:
    """Raise WorkError for a program that keeps ending."""
    with (layout.logs / "supervisord.log").open("rb") as log:
        log.seek(offset)
        output = log.read().decode(errors="replace")
    for program, (state, _) in supervisor.programs().items():
        if state == "FATAL" or output.count(f"spawned: '{program}'") >= GAVE_UP:
            log_file = layout.logs / f"{program}.log"
            raise WorkError(f"{program} does not start: {_last_error(log_file)}; the full output is in {log_file}")


def _pause(deadline: float, what: str, seconds: float, log: Path) -> None:
    if time.monotonic() > deadline:
        raise WorkError(
            f"{what} did not answer within {seconds:.0f} s: {_last_error(log)}; the full output is in {log}; allow more "
            "time with --wait"
        )
    time.sleep(_PAUSE)


def _clear(layout: Layout, say: Say) -> None:
    """End the remains of an earlier stack, and check that the ports are free. Raises UsageError."""
    if count := processes.end(layout.home):
        say(f"ended {count} processes that an earlier stack had left")
    host = layout.settings.host
    try:
        taken = {program: port for program, port in layout.ports.items() if health.used(host, port)}
    except OSError:
        raise UsageError(f"TRUEUP_HOST={host} is not an address of this machine; use one that it has") from None
    if taken:
        names = "; ".join(f"{port} ({p}, set TRUEUP_{p.upper()}_PORT)" for p, port in taken.items())
        raise UsageError(f"ports of {host} that another program uses: {names}; stop that program or use other ports")


def _prepare(layout: Layout) -> None:
    """Create what several programs would create at once: folders, and MLflow's database."""
    from trueup.adapters.evidently import make_workspace
    from trueup.adapters.mlflow.runs import Tracking

    layout.logs.mkdir(parents=True, exist_ok=True)
    layout.folder.chmod(0o700)
    Path(layout.environment(os.environ)["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    make_workspace(layout.home / "evidently")
    if layout.has_mlflow:
        _ = Tracking(layout.settings.mlflow_store, layout.settings.artifact_root).client
    Supervisor(layout).write()


def down(layout: Layout) -> int | None:
    """End every process of the stack. Returns how many had to be ended here; None if no process ran."""
    return _end(layout, Supervisor(layout))


def _end(layout: Layout, supervisor: Supervisor) -> int | None:
    pid = supervisor.pid()
    if pid is None and not processes.marked(layout.home):
        return None
    if pid is not None:
        supervisor.shutdown()
        _gone(pid)
    # Flow runs have separate sessions, which a process manager does not reach.
    return processes.end(layout.home)


def _gone(pid: int) -> None:
    """Wait for supervisord to end; reap it if it is our child."""
    deadline = time.monotonic() + _SHUTDOWN
    while time.monotonic() < deadline:
        try:
            psutil.Process(pid).wait(timeout=1.0)
        except psutil.TimeoutExpired:
            continue
        except psutil.NoSuchProcess:
            pass
        return


def status(layout: Layout) -> Status:
    """Inspect the stack without changing anything."""
    supervisor = Supervisor(layout)
    if supervisor.pid() is None:
        return Status(False, False, {}, {}, {})
    layout = _as_started(layout)
    addresses = {p: layout.address(p) for p in layout.ports}
    programs = supervisor.programs()
    states = {name: state for name, (state, _) in programs.items()}
    pids = {name: pid for name, (_, pid) in programs.items() if pid}
    return Status(True, bool(_read(layout).get("ready")), addresses, states, pids)


def follow(layout: Layout, out: Say) -> None:
    """Print what the programs write, each line with the program's name, until the stack ends or a signal comes."""
    files = {name: layout.logs / f"{name}.log" for name in layout.programs}
    places = {name: file.stat().st_size if file.exists() else 0 for name, file in files.items()}
    supervisor, width, rounds = Supervisor(layout), max(map(len, files)), 0
    while rounds % 20 or supervisor.pid() is not None:
        rounds += 1
        for name, file in files.items():
            text, places[name] = _new_lines(file, places[name])
            for line in text:
                out(f"{name:<{width}} | {line}")
        time.sleep(_PAUSE)


def _new_lines(file: Path, place: int) -> tuple[list[str], int]:
    """The complete lines after a position in a file that may have been truncated."""
    if not file.exists():
        return [], 0
    place = place if file.stat().st_size >= place else 0
    with file.open("rb") as log:
        log.seek(place)
        whole, newline, _ = log.read().rpartition(b"\n")
    return whole.decode(errors="replace").splitlines(), place + len(whole) + len(newline)


@contextmanager
def ending(layout: Layout) -> Iterator[None]:
    """End the stack when the block ends, by Ctrl-C, SIGTERM, or a closed terminal."""

    def stop(_signal: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = {s: signal.signal(s, stop) for s in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        down(layout)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _alone(layout: Layout) -> Iterator[None]:
    layout.folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(layout.folder / "up.lock", timeout=0):
            yield
    except Timeout:
        raise UsageError(f"the stack of {layout.home} is being started by another `trueup up`; wait for it") from None


def _as_started(layout: Layout) -> Layout:
    """The layout with the address and ports of the running stack."""
    return Layout(layout.settings.model_copy(update=_read(layout).get("ports", {})), layout.project)


def _read(layout: Layout) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(layout.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # killed during the write
        return {}
    return record


def _write(layout: Layout, ready: bool) -> None:
    ports = {"host": layout.settings.host, **{f"{p}_port": n for p, n in layout.ports.items()}}
    record = {"ready": ready, "ports": ports, "addresses": layout.addresses, "project": str(layout.project)}
    files.write_text(layout.record, json.dumps(record))


def _last_error(log: Path) -> str:
    return in_one_line(log.read_text(encoding="utf-8", errors="replace") if log.exists() else "")
