"""Several worker processes on one home with PostgreSQL, killed at crash points and at any other moment."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pandas as pd

from tests import streams
from tests.faults.invariants import acknowledged, require_nothing_lost, require_settled
from tests.forked import Killed, Started, forked
from tests.story import PLAIN, Story, stream, window
from trueup import home
from trueup.audit.verify import verify
from trueup.crash import POINTS
from trueup.domain.types import ROW_ID
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile

# Each week's batch asks for a retrain, so that each round has all that must happen once.
CONFIG = PLAIN.replace("max_iter: 40", "max_iter: 15").replace("promote:\n", "promote:\n  refit: false\n") + (
    "score:\n  sink: {kind: folder, path: ../served}\nretrain:\n  every: 7 days\n  max_rejections: 1000\n"
)
# Points that a round of this config reaches.
REACHED = [point for point in POINTS if point not in {"export.checked", "refit.fitted"}]
FIRST = 5  # weeks that the first turn handles


@dataclass(frozen=True)
class Shared:
    """One home of several workers: a folder of configs, and where the home and its databases are (settings)."""

    folder: Path
    places: Mapping[str, object] = field(repr=False)
    frame: pd.DataFrame = field(repr=False)
    ahead: timedelta = timedelta(0)  # of the clock of machine 1

    def open(self, machine: int = 0) -> Story:
        """Open it in a child, as one of several machines does: each keeps copies of its own, and has a clock."""
        if machine == 1 and self.ahead:
            _set_clock(self.ahead)
        return Story.at(self.folder, self.frame, **self.places, cache=self.folder / f"machine{machine}")


def _set_clock(ahead: timedelta) -> None:
    """Let this process read another time from the clock of its machine."""
    right, right_now = time.time, home._wall_clock
    time.time = lambda: right() + ahead.total_seconds()
    home._wall_clock = lambda: right_now() + ahead


def laid_out(folder: Path, rounds: int, ahead: timedelta = timedelta(0), **places: object) -> Shared:
    """A home with its first champion, and batches for so many rounds."""
    frame = stream((FIRST + rounds) * 7, change_on=(FIRST + rounds // 2) * 7, per_day=40)
    streams.write(folder, frame, CONFIG)
    shared = Shared(folder, places, frame, ahead)
    assert forked(work, shared, FIRST, None) == FIRST
    return shared


def work(shared: Shared, week: int, barrier: Any, machine: int = 0) -> int:
    """One turn of a worker; the number of batches of the turn, by whomever they were handled."""
    story = shared.open(machine)
    if barrier is not None:
        barrier.wait(300)
    return len(turn.cycle(steps, story.model, streams.week(week), "inline").batches)


def play(shared: Shared, workers: int, rounds: int, seed: int) -> Counter[str]:
    """Let so many workers do each round's turn at once while some are killed; count what became of them."""
    draw, counts = random.Random(seed), Counter[str]()
    before = forked(_acknowledged, shared, FIRST)
    for number in range(1, rounds + 1):
        week = FIRST + number
        counts += _round(shared, week, workers, draw)
        forked(work, shared, week, None)  # who comes later finds it done, or finishes it
        after = forked(settled, shared, week)
        require_nothing_lost(before, after)
        before = after
    return counts


def _round(shared: Shared, week: int, workers: int, draw: random.Random) -> Counter[str]:
    barrier, counts = get_context("fork").Barrier(workers + 1), Counter[str]()
    doomed = draw.sample(range(workers), draw.randint(1, workers))  # at least one, perhaps all
    plans = {n: draw.choice([*REACHED, None]) for n in doomed}  # None: at any moment
    started = [Started(work, shared, week, barrier, n, crash_at=plans.get(n)) for n in range(workers)]
    barrier.wait(300)  # nobody is killed before all have begun: the others would wait for it
    for number in [n for n, point in plans.items() if point is None]:
        time.sleep(draw.uniform(0, 3) / workers)  # not a wait for anything: the moment of the kill is drawn
        started[number].process.kill()
    for number, worker in enumerate(started):
        try:
            worker.result(600)
            counts["ended by itself"] += 1
        except Killed:
            counts[f"killed at {plans[number] or 'a random moment'}"] += 1
    return counts


def _acknowledged(shared: Shared, weeks: int) -> dict[str, list[Any]]:
    return acknowledged(shared.open().home, weeks)


def settled(shared: Shared, week: int) -> dict[str, list[Any]]:
    """Require that each batch, retrain and promotion of the weeks so far happened once; what was acknowledged."""
    story = shared.open()
    reconcile(story.model)
    require_settled(story.model)
    found = verify({"toy": story.config}, story.home)
    assert found.problems == ()
    store = story.home.store
    for dataset in ("toy/rows", "toy/labels"):
        landed = store.batches(dataset)
        assert [ref.window for ref in landed] == [window(number) for number in range(week)]
        assert {ref.revision for ref in landed} == {1}
    for stage in ("validate", "run"):
        handled = Counter(result.window for result in store.results("toy", stage, dict))
        assert handled == Counter({window(number): 1 for number in range(week)}), stage
    entries = story.home.ledger.entries("toy")
    decided = Counter(entry.as_of for entry in entries)
    assert decided == Counter({streams.week(number): 1 for number in range(FIRST, week + 1)})
    moments = [entry.recorded_at for entry in entries]
    assert moments == sorted(moments)
    assert max(moments) < datetime.now(UTC) + timedelta(minutes=5)  # of the database's clock
    promotions = [entry.body.promotion.epoch for entry in entries if entry.body.promotion]
    assert promotions == list(range(1, len(promotions) + 1))
    for number in range(FIRST, week):
        rows = store.read_predictions("toy", window(number), columns=[ROW_ID])[ROW_ID]
        assert len(rows) == len(store.effective(story.batch(number).rows, [ROW_ID]))
    return acknowledged(story.home, week)
