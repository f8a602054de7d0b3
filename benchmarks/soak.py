"""A year in the life of a small model, through the real stack and unattended, while its servers are killed at random.

A source delivers one to three days at a time and announces the newest; the events trigger the rest. A seeded killer
sends SIGKILL to the worker, to the server, to both, or to the worker with its flows, at random moments. At the end
every batch must have been landed, scored and monitored exactly once, with no work left.

    python -m benchmarks.soak                                a year, ten kills: an hour and more
    python -m benchmarks.soak --days 30 --kills 3 --seed 7
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from benchmarks import accounts, killing
from benchmarks.gauges import Gauges, quantile
from tests import streams
from tests.stack import LEAN, Stack, toy_project
from trueup.adapters.prefect_events import EventApi
from trueup.adapters.sql.engines import reading
from trueup.adapters.store.tables import RESULTS
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.events import DataArrived, interval
from trueup.domain.types import Window
from trueup.home import Home
from trueup.ledger.entries import Event
from trueup.ledger.tables import OUTBOX
from trueup.loop.outbox import relay
from trueup.model import Model

log = logging.getLogger(__name__)

CONFIG = """
model: toy
task: binary
about: A made-up stream, a batch a day.
ingest:
  source: {kind: files, path: data/*.csv}
  time: t
  key: [id]
  period: day
  label: {column: y, known_after: 6 hours}
validate:
  min_rows: 30
  expectations:
    - {type: expect_column_values_to_be_between, kwargs: {column: x, min_value: -20, max_value: 20}}
    - {type: expect_column_values_to_be_in_set, kwargs: {column: group, value_set: [a, b, c]}}
features:
  numeric: [x, z]
  categorical: [group]
train:
  window: 28 days
  min_history: 8 days
  families: [gradient_boosting]
  trials: 1
  folds: 1
  parameters: {gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}
evaluate:
  resamples: 300
  block: 1 hour
  slices: [group]
promote:
  gate_window: 4 days
  min_new_days: 3
  max_refit_shift: 1
monitor:
  min_matured: 60
  stale_after: 30 days
  drift: {share: 0.7, numeric_threshold: 0.5, categorical_threshold: 0.3}
  decay: {reference_window: 14 days}
retrain:
  cooldown: 2 days
"""
PER_DAY = 160
AT_ONCE = 3  # days in a delivery, at most: a flow run costs some 20 s, most of it imports
PATIENCE = 60.0  # seconds that the source waits at most for the loop before it delivers more
SETTLES = 600.0  # seconds after the last batch in which everything must have been put right
STUCK = 900.0  # seconds without any progress, after which it is given up
EVERY = {"reconcile": 120, "run": 600}  # seconds between what the calendar starts; a day takes some ten


def stream(days: int, seed: int = 1) -> pd.DataFrame:
    """A stream with seasonal inputs. The relation changes after a third, and in a year again after two."""
    changes = {"season": 0.4, "change_on": max(days // 3, 12), "noise_on": 2 * days // 3 if days > 60 else None}
    return streams.Stream(days, per_day=PER_DAY, seed=seed, **changes).frame()


@dataclass
class Soak:
    """A stack in a separate folder, the source of its data, and the killer."""

    folder: Path
    days: int
    kills: int
    seed: int = 1
    at_once: int = AT_ONCE
    every: dict[str, int] = field(default_factory=lambda: dict(EVERY))
    lean: bool = False  # no reports, and no server that the flows can do without
    killed: list[killing.Killed] = field(default_factory=list)
    delivered: int = 0  # days

    def __post_init__(self) -> None:
        self.stream = stream(self.days)
        configs = streams.write(self.folder, self.stream.head(0), CONFIG)
        (configs / "data" / "stream.csv").unlink()
        self.home = Home(Settings(home=self.folder / "home", configs=configs))
        self.model = Model(load_model(configs, "toy"), self.home)
        project = toy_project(self.folder, every=self.every)
        more = {"TRUEUP_CONFIGS": str(configs)} | (LEAN if self.lean else {})
        self.stack = Stack(self.home.root, project, more=more)
        self.windows = [Window(_midnight(d), _midnight(d + 1)) for d in range(self.days)]

    def run(self) -> dict[str, Any]:
        """Run all days. Returns the figures, with the final problems under `problems`."""
        with self._up():
            began = time.time()
            with Gauges(self.stack) as gauges:
                killer = threading.Thread(target=self._kill, daemon=True)
                killer.start()
                self._source()
                killer.join()
                ended = time.time()
                problems = self._settled()
                settled = time.time()
            figures = self._figures(began, ended, gauges)
        left = [] if self.stack.nothing_left() else ["processes were left after `down`"]
        self.home.close()
        return {**figures, "settled_after_s": round(settled - ended), "problems": problems + left}

    @contextmanager
    def _up(self) -> Iterator[None]:
        from trueup.orchestration.recovery import processes

        try:
            self.stack.up()
            yield
            self.stack("down")
        except BaseException:
            processes.end(self.stack.home.resolve(), grace=0)
            raise

    def _source(self) -> None:
        """Deliver when the earlier days are done, or after a while."""
        chance = random.Random(self.seed)
        while self.delivered < self.days:
            self._deliver(min(chance.randint(1, self.at_once), self.days - self.delivered))
            log.info("day %d of %d, %d handled", self.delivered, self.days, self.handled())
            self._wait(lambda: self.handled() >= self.delivered, PATIENCE)
        began, most = time.monotonic(), self.handled()
        while (done := self.handled()) < self.days:
            began, most = (time.monotonic(), done) if done > most else (began, most)
            if time.monotonic() - began > STUCK:
                return
            time.sleep(1)

    def _deliver(self, days: int) -> None:
        """Put one file per day where the loop reads them, and announce the newest, like any source."""
        folder = self.home.configs / "data"
        for window in self.windows[self.delivered : self.delivered + days]:
            rows = self.stream[(self.stream["t"] >= window.start) & (self.stream["t"] < window.end)]
            beside = folder / "coming"
            rows.to_csv(beside, index=False)
            beside.rename(folder / f"{window.start:%Y-%m-%d}.csv")
        self.delivered += days
        arrived = DataArrived(model="toy", as_of=window.end, batch=interval(window))
        self.home.ledger.announce("toy", [Event.of(arrived, arrived.batch)])
        relay(self.home, EventApi(f"http://127.0.0.1:{self.stack.ports['prefect']}/api"))

    def _kill(self) -> None:
        for kill in killing.plan(self.days, self.kills, self.seed):
            while self.delivered <= kill.batch:
                time.sleep(0.2)
            time.sleep(kill.after)
            self.killed.append(killing.strike(self.stack, kill))
            log.info("%s", self.killed[-1])

    def handled(self) -> int:
        """The number of handled batches."""
        return self._count(sa.select(sa.func.count(sa.distinct(RESULTS.c.start))).where(RESULTS.c.stage == "run"))

    def _count(self, query: sa.Select[Any]) -> int:
        _ = self.home.store
        with reading(self.home.engine) as connection:
            return int(connection.scalar(query) or 0)

    def _wait(self, done: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not done() and time.monotonic() < end:
            time.sleep(0.25)

    def _settled(self) -> list[str]:
        """Give the reconciler time to repair what the kills left, then list the remaining problems."""
        deadline = time.monotonic() + SETTLES
        while True:
            problems = accounts.problems(self.model, self.stack, self.stream, self.windows)
            if not problems or time.monotonic() > deadline:
                return problems
            time.sleep(5)

    def _figures(self, began: float, ended: float, gauges: Gauges) -> dict[str, Any]:
        runs = [r for r in accounts.all_runs(self.stack, {}) if r["start_time"]]
        kinds = Counter(e.kind for e in self.home.ledger.entries("toy"))
        waits = self._latencies()
        fifth = max(1, len(waits) // 5)
        return {
            "days": self.days,
            "seed": self.seed,
            "wall_s": round(ended - began),
            "batches_an_hour": round(self.handled() / (ended - began) * 3600),
            "latency_s": {
                "p50": statistics.median(waits),
                "p95": quantile(sorted(waits), 0.95),
                "most": max(waits),
                "p50_first_fifth": statistics.median(waits[:fifth]),
                "p50_last_fifth": statistics.median(waits[-fifth:]),
            },
            "kills": [
                {"whom": k.whom, "batch": k.batch, "flows_at_work": k.flows, "next_run_after_s": self._next(k, runs)}
                for k in self.killed
            ],
            "restarts": self._restarts(),
            "flow_runs": {n: dict(c) for n, c in sorted(_states(runs).items())},
            "decisions": dict(kinds),
            "looks_more_than_one": sum(n > 1 for n in accounts.looks(self.model).values()),
            "server": gauges.server([k.at for k in self.killed if "server" in k.whom]),
            "memory_mib": gauges.memory_mib(),
            "home_mib": _mib(self.stack.home),
            "databases_mib": {
                str(f.relative_to(self.stack.home)): _mib(f) for f in sorted(self.stack.home.rglob("*.db*")) if _mib(f)
            },
        }

    def _latencies(self) -> list[float]:
        """Seconds from the announcement of each batch to the end of its handling, by the home's own records."""
        _ = self.home.store
        with reading(self.home.engine) as connection:
            handled = {
                r.start: r.recorded_at
                for r in connection.execute(
                    sa.select(RESULTS).where(RESULTS.c.stage == "run").order_by(RESULTS.c.id.desc())
                )
            }
            announced_rows = (
                connection.execute(sa.select(OUTBOX).where(OUTBOX.c.topic == "trueup.data.arrived")).mappings().all()
            )
        announced = sorted(
            (datetime.fromisoformat(json.loads(r["payload"])["as_of"]), datetime.fromisoformat(r["created_at"]))
            for r in announced_rows
        )
        waits = []
        for window in self.windows:  # the first announcement of this day or a later one is its own
            at = next((at for as_of, at in announced if as_of >= window.end), None)
            if at is not None and window.start in handled:
                waits.append(round((handled[window.start] - at.replace(tzinfo=None)).total_seconds(), 1))
        return waits

    def _next(self, kill: killing.Killed, runs: Sequence[dict[str, Any]]) -> float | None:
        """Seconds from a kill to the first line of the next flow run of `run` that ended well."""
        begun = [
            moment(r["start_time"])
            for r in runs
            if r["name"].startswith("run toy") and r["state"]["type"] == "COMPLETED"
        ]
        later = [b - kill.at for b in begun if b > kill.at]
        return round(min(later), 1) if later else None

    def _restarts(self) -> dict[str, int]:
        """How often the process manager restarted each program."""
        log = (self.stack.home / "stack" / "logs" / "supervisord.log").read_text()
        begun = {p: log.count(f"spawned: '{p}'") for p in ("prefect", "worker", "mlflow", "evidently")}
        return {program: count - 1 for program, count in begun.items() if count}


def _midnight(day: int) -> datetime:
    return streams.START + timedelta(days=day)


def moment(text: str) -> float:
    """A moment of Prefect's API as seconds since the epoch."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _states(runs: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    states: dict[str, Counter[str]] = {}
    for run in runs:
        states.setdefault(run["name"].split(" ")[0], Counter())[run["state"]["type"]] += 1
    return states


def _mib(path: Path) -> float:
    files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file() and not f.is_symlink()]
    return round(sum(f.stat().st_size for f in files) / 2**20, 1)


def main() -> None:
    """Run it, print the figures, and exit with 1 if there are problems."""
    parser = argparse.ArgumentParser(description="A year of daily batches through the real stack, killed at random.")
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1, help="of the kills")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, help="days in a delivery, at most")
    parser.add_argument("--keep", metavar="FOLDER", help="live in this folder and keep it; it must not exist")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    folder = Path(wanted.keep) if wanted.keep else Path(tempfile.mkdtemp(prefix="trueup-soak-"))
    folder.mkdir(parents=True, exist_ok=not wanted.keep)
    results = Soak(folder, wanted.days, wanted.kills, wanted.seed, wanted.at_once).run()
    if not wanted.keep and not results["problems"]:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(results, indent=None if wanted.json else 2) + "\n")
    if results["problems"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
