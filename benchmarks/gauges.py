"""Measures a running stack over hours: response times of its server, and memory of its programs."""

from __future__ import annotations

import statistics
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import psutil

from tests.stack import Stack

_EVERY = 1.0  # seconds between two requests to the server
_LOOK = 30.0  # and between two measurements of memory
_PATIENCE = 10.0
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Gauges:
    """Measures a stack in a separate thread for the duration of the block."""

    stack: Stack
    answers: list[tuple[float, float | None]] = field(default_factory=list)  # when, and after how many seconds
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # when, MiB by program

    def __post_init__(self) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._ask, self._look)]

    def __enter__(self) -> Gauges:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        url = f"http://127.0.0.1:{self.stack.ports['prefect']}/api/health"
        while not self._over.wait(_EVERY):
            begun, seconds = time.time(), None
            try:
                with _NO_PROXY.open(url, timeout=_PATIENCE) as answer:
                    seconds = time.time() - begun if answer.status == 200 else None
            except OSError:
                pass
            self.answers.append((begun, seconds))

    def _look(self) -> None:
        while True:
            self.memory.append((time.time(), programs(self.stack)))
            if self._over.wait(_LOOK):
                return

    def server(self, kills: list[float]) -> dict[str, Any]:
        """Response times of the server, and its outages after each kill and without one, in seconds."""
        fast = sorted(s for _, s in self.answers if s is not None)
        away = [(a, b) for a, b in _gaps(self.answers)]
        killed = [b - a for a, b in away if any(k - _EVERY - 1 <= a <= k + 5 for k in kills)]
        other = [b - a for a, b in away if not any(k - _EVERY - 1 <= a <= k + 5 for k in kills)]
        return {
            "asked": len(self.answers),
            "p50_s": round(statistics.median(fast), 4),
            "p95_s": round(quantile(fast, 0.95), 4),
            "max_s": round(fast[-1], 2),
            "away_after_kills_s": [round(s, 1) for s in killed],
            "away_otherwise_s": [round(s, 1) for s in other],
        }

    def memory_mib(self) -> dict[str, dict[str, float]]:
        """By program: first, last and largest memory."""
        names = sorted({name for _, measured in self.memory for name in measured})
        series = {name: [measured[name] for _, measured in self.memory if name in measured] for name in names}
        return {name: {"begin": s[0], "end": s[-1], "most": max(s)} for name, s in series.items()}


def programs(stack: Stack) -> dict[str, float]:
    """Proportional memory of each of the stack's programs in MiB; the worker's children, which are flows, together."""
    from trueup.orchestration.recovery import processes
    from trueup.orchestration.stack.services import PROGRAM_MARK

    memory: dict[str, float] = {}
    for process in processes.marked(stack.home.resolve()):
        try:
            name = process.environ().get(PROGRAM_MARK, "supervisord")
            if name == "worker" and "worker" not in process.cmdline():
                name = "flows"
            memory[name] = memory.get(name, 0.0) + process.memory_full_info().pss / 2**20
        except (psutil.Error, OSError):
            continue
    return {name: round(mib, 1) for name, mib in memory.items()}


def quantile(values: list[float], share: float) -> float:
    """The quantile of sorted values."""
    return values[min(int(share * len(values)), len(values) - 1)]


def _gaps(answers: list[tuple[float, float | None]]) -> list[tuple[float, float]]:
    """Spans in which the server did not answer, from the first failed request to the next success."""
    spans, since = [], None
    for moment, seconds in answers:
        if seconds is None and since is None:
            since = moment
        elif seconds is not None and since is not None:
            spans.append((since, moment))
            since = None
    return spans
