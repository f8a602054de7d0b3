"""The programs of a stack to kill, and when, drawn from a seed."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import psutil

from tests.stack import Stack
from trueup.orchestration.recovery import processes

WHOM = {
    "worker": "the worker alone: the flows at work go on without it",
    "worker and flows": "the worker with all flows at work",
    "server": "Prefect's server",
    "server, worker and flows": "all of these at once",
}
_LATEST = 20.0  # seconds after the arrival of a batch, by which its run has mostly ended


@dataclass(frozen=True)
class Kill:
    """Kill somebody so many seconds after a batch arrived."""

    batch: int
    after: float
    whom: str


@dataclass(frozen=True)
class Killed:
    """A kill that happened."""

    at: float  # wall clock
    batch: int
    whom: str
    processes: int
    flows: int  # flow runs that were at work


def plan(batches: int, kills: int, seed: int) -> list[Kill]:
    """So many kills at random batches, but the first and the last quarter; everybody's turn comes equally often."""
    chance = random.Random(seed)
    whom = [list(WHOM)[i % len(WHOM)] for i in range(kills)]
    chance.shuffle(whom)
    at = sorted(chance.sample(range(2, batches * 3 // 4), kills))
    return [Kill(b, chance.uniform(0, _LATEST), w) for b, w in zip(at, whom, strict=True)]


def strike(stack: Stack, kill: Kill) -> Killed:
    """Send SIGKILL to all of them, before any can see another die."""
    server = processes.marked(stack.home.resolve(), "prefect") if "server" in kill.whom else []
    workers = processes.marked(stack.home.resolve(), "worker")
    at_work = [p for p in workers if not _is_worker(p)]
    chosen = workers if "flows" in kill.whom else [p for p in workers if p not in at_work]
    victims = server + (chosen if "worker" in kill.whom else [])
    for process in victims:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    return Killed(time.time(), kill.batch, kill.whom, len(victims), len(at_work))


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "worker" in process.cmdline()
    except psutil.Error:
        return False
