"""The time from an event to the first line of the flow that it starts, with the settings of `make up`.

The real stack is started for an empty home on free ports. Events about new data go through the outbox to Prefect's
server, where a trigger starts `run` from its deployment. `as_of` is before any data, so each run ends at once and each
event finds the worker idle. The parts:

    relayed    announced in the outbox, until the server has accepted the event
    triggered  until the trigger has created a flow run
    picked up  until the worker has seen it (it polls every second) and reports that it starts it
    started    until the run's process has imported Prefect and the flow, before its first line

    python -m benchmarks.event_latency [--events 20] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from trueup.adapters.prefect_events import EventApi
from trueup.config.settings import Settings
from trueup.domain.events import DataArrived
from trueup.home import Home
from trueup.ledger.entries import Event
from trueup.loop.outbox import relay
from trueup.orchestration.stack.health import post

MODEL = "flight_delays"
AIM_S = 4.0
_BEFORE = datetime(2012, 1, 1)  # no flights yet: the run has nothing to do
_ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
_PARTS = ("relayed", "triggered", "picked up", "started")
_PATIENCE = 120.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="From an event to the first line of the flow that it starts.")
    parser.add_argument("--events", type=int, default=20, help="how many, one after the other")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-latency-") as scratch, _stack(Path(scratch) / "home") as api:
        home = Home(Settings(home=Path(scratch) / "home"))
        _one(home, api, 0)  # the first run fills caches of the disk and the server
        times = [_one(home, api, number) for number in range(1, wanted.events + 1)]
        home.close()
    summary = _summary(times)
    if wanted.json:
        sys.stdout.write(json.dumps(summary) + "\n")
    else:
        _show(summary)


@contextmanager
def _stack(home: Path) -> Iterator[str]:
    """The stack of a home, as `make up` starts it; returns the address of Prefect's API."""
    ports = {name: _free_port() for name in ("PREFECT", "MLFLOW", "EVIDENTLY")}
    place = {"TRUEUP_HOME": str(home)} | {f"TRUEUP_{name}_PORT": str(port) for name, port in ports.items()}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")} | place
    trueup = [sys.executable, "-c", "from trueup.cli.main import main; main()"]
    try:
        subprocess.run([*trueup, "up", "--detach"], env=environment, check=True, capture_output=True)
        yield f"http://127.0.0.1:{ports['PREFECT']}/api"
    finally:
        subprocess.run([*trueup, "down"], env=environment, check=True, capture_output=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _one(home: Home, api: str, number: int) -> dict[str, float]:
    """Raise one event and return the seconds of each part; `total` is their sum."""
    # Spread over the worker's polling interval.
    time.sleep(0.37 * (number % 6))
    moment = _BEFORE + timedelta(days=number)
    announced = datetime.now(UTC)
    event = Event.of(DataArrived(model=MODEL, as_of=moment, batch=f"{moment}/{moment}"), f"latency {number}")
    home.ledger.announce(MODEL, [event])
    handed = relay(home, EventApi(api))
    relayed = datetime.now(UTC)
    if handed.problem:
        raise RuntimeError(handed.problem)
    run = _ended_run(api, moment)
    states = {s["name"]: s["timestamp"] for s in reversed(_get(api, run["id"]))}  # of each the first
    moments = [announced, relayed, *(_moment(t) for t in (run["created"], states["Pending"], states["Running"]))]
    parts = dict(zip(_PARTS, [(b - a).total_seconds() for a, b in pairwise(moments)], strict=True))
    return parts | {"total": (moments[-1] - announced).total_seconds()}


def _ended_run(api: str, moment: datetime) -> dict[str, Any]:
    """Wait for the run that the event started to end."""
    deadline = time.monotonic() + _PATIENCE
    ended = {"state": {"type": {"any_": sorted(_ENDED)}}}
    query = {"sort": "START_TIME_DESC", "limit": 5, "flows": {"name": {"any_": ["run"]}}, "flow_runs": ended}
    while time.monotonic() < deadline:
        for run in post(f"{api}/flow_runs/filter", query, tries=20):
            if str(run["parameters"].get("as_of", "")).startswith(moment.isoformat()):
                return dict(run)
        time.sleep(0.5)
    raise RuntimeError(f"no run came of the event within {_PATIENCE:.0f} s")


def _get(api: str, run: str) -> list[dict[str, Any]]:
    import httpx

    return list(httpx.get(f"{api}/flow_run_states/", params={"flow_run_id": run}, timeout=30).json())


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _summary(times: list[dict[str, float]]) -> dict[str, Any]:
    totals = sorted(f["total"] for f in times)
    return {
        "p50_s": round(statistics.median(totals), 3),
        "p95_s": round(totals[min(len(totals) - 1, round(0.95 * len(totals)))], 3),
        "parts": {part: round(statistics.median(f[part] for f in times), 3) for part in _PARTS},
        "events": len(times),
        "aim_s": AIM_S,
    }


def _show(summary: dict[str, Any]) -> None:
    print(f"from an event to the flow's first line, {summary['events']} events: median {summary['p50_s']:.1f} s, "
          f"95 % within {summary['p95_s']:.1f} s (aim: {summary['aim_s']:.0f} s)")  # fmt: skip
    for part, seconds in summary["parts"].items():
        print(f"  {part:<10}{seconds:>6.2f} s")


if __name__ == "__main__":
    main()
