"""What a command costs with all the processes it starts: wall time, CPU time and memory. Linux only: it reads /proc."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

_EVERY = 0.25  # seconds between looks at the processes
_HIGHER = 1.01
_PAGE = os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Cost:
    """What one command cost.

    `cpu_s` is user and system time of the command and of every descendant it waited for. `peak_mib` is the largest sum
    over the process tree of proportional set sizes (PSS: memory shared by n processes counts 1/n in each).
    """

    wall_s: float
    cpu_s: float
    peak_mib: float
    out: str  # the last line of its standard output


def cost(command: Sequence[str], environment: Mapping[str, str]) -> Cost:
    """Run a command to its end. Raises RuntimeError, with what it said, when it fails."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=errors, env={**os.environ, **environment})
        done, peaks = threading.Event(), [0.0]
        watcher = threading.Thread(target=_watch, args=(process.pid, done, peaks))
        watcher.start()
        _, status, used = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        done.set()
        watcher.join()
        for stream in (out, errors):
            stream.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{errors.read()[-3000:]}")
        lines = out.read().strip().splitlines()
        return Cost(wall, used.ru_utime + used.ru_stime, peaks[0], lines[-1] if lines else "")


def size_of(home: Path) -> dict[str, int]:
    """Number and bytes of the files of a home on SQLite, and rows of all tables of its own database."""
    with closing(sqlite3.connect(home / "trueup.db")) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        rows = sum(database.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _tables(database))
    files = [file for file in home.rglob("*") if file.is_file() and not file.is_symlink()]
    return {"bytes": sum(file.stat().st_size for file in files), "files": len(files), "table_rows": rows}


def _tables(database: sqlite3.Connection) -> Iterator[str]:
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        yield name


def _watch(root: int, done: threading.Event, peaks: list[float]) -> None:
    """Keep the peak. PSS is expensive to read, so it is read only when the cheaper RSS shows that it may be higher."""
    highest = 0.0
    while not done.wait(_EVERY):
        processes = _tree(root)
        resident = sum(_rss(pid) for pid in processes)
        if resident > highest * _HIGHER:
            highest = resident
            peaks[0] = max(peaks[0], sum(_pss(pid) for pid in processes))


def _tree(root: int) -> list[int]:
    """A process and its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended meanwhile
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    processes, left = [], [root]
    while left:
        processes.append(pid := left.pop())
        left += children.get(pid, [])
    return processes


def _rss(pid: int) -> float:
    """Resident set size in MiB; 0 for a process that ended."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return 0.0


def _pss(pid: int) -> float:
    """Proportional set size in MiB; 0 for a process that ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0
