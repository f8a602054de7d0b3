"""How soon a server answers with what was decided on another machine: with PostgreSQL's notifications, and by asking alone.

A model gets a champion and a second version, in a home with a private PostgreSQL. The parts, in seconds from the end of a
decision's transaction:

    noticed   until a process of `trueup serve`, which looks at its notifications every .05 s, has the new facts of the
              ledger; also when it can only ask, every second
    answered  until the new version answers, when nobody has published it: the server starts a process that does

    python -m benchmarks.publication [--decisions 30] [--answers 3] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from tests import postgres
from tests.story import PLAIN, Story, stream
from trueup.governance.rollback import override
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record
from trueup.serving.loading import ledger_reader
from trueup.serving.loading.served import Served
from trueup.serving.loading.watch import Watch
from trueup.serving.settings import ServerSettings

_MODEL, _WEEKS, _PATIENCE = "toy", 6, 3600.0
_CONFIG = PLAIN.replace("  min_new_days: 6\n", "  min_new_days: 6\n  gates: []\n") + "serve: {}\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="From a decision to the server that answers with it.")
    parser.add_argument("--decisions", type=int, default=30, help="how many are noticed, in each way")
    parser.add_argument("--answers", type=int, default=3, help="how many are answered")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-publication-") as scratch, postgres.cluster() as server:
        url = server.url.render_as_string(hide_password=False)
        story, listens = _made(Path(scratch), url), ledger_reader._listens
        figures = {"notified": _noticed(story, url, wanted.decisions)}
        ledger_reader._listens = lambda _: False
        figures["asked"] = _noticed(story, url, wanted.decisions)
        ledger_reader._listens = listens
        figures["answered"] = _summary(_answered(story, url, wanted.answers))
        story.home.close()
    if wanted.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for name, parts in figures.items():
        print(f"{name:<9} {parts['median_s']:.3g} s (median), {parts['most_s']:.3g} s (most) of {parts['count']}")


def _made(folder: Path, url: str) -> Story:
    """A home with a champion and an earlier version."""
    os.environ.update(TRUEUP_HOME=str(folder / "home"), TRUEUP_DATABASE_URL=url, TRUEUP_REPORTS="false")
    story = Story(folder, stream((_WEEKS + 1) * 7, per_day=40), _CONFIG, database_url=url)
    os.environ["TRUEUP_CONFIGS"] = str(story.configs)
    story.turn(_WEEKS)
    return story


def _noticed(story: Story, url: str, decisions: int) -> dict[str, float]:
    """Until a reader has the facts of each of some decisions that promote nothing."""
    reader, seconds = ledger_reader.open_reader(url), list[float]()
    reader.changed([_MODEL])
    for _ in range(decisions):
        deadline = time.monotonic() + random.random()  # at any moment between two questions
        while time.monotonic() < deadline:
            reader.changed([_MODEL])
            time.sleep(reader.pause)
        entry = story.home.ledger.append(Decision(uuid4().hex, _MODEL, "rejected", datetime(2024, 1, 1), Record()))
        decided = time.monotonic()
        while not (reader.changed([_MODEL]) and reader.facts(_MODEL).seq == entry.seq):
            time.sleep(reader.pause)
        seconds.append(time.monotonic() - decided)
    reader.close()
    return _summary(seconds)


def _answered(story: Story, url: str, answers: int) -> list[float]:
    """Until a server answers with the other version, of two that become the champion in turn."""
    settings = ServerSettings(story.home.root, story.configs, url, (_MODEL,))
    served = Served(story.home.root, _MODEL)
    watch = Watch([served], settings)
    watch.start()
    try:
        return [_answer(story, served, f"decision {number}") for number in range(answers)]
    finally:
        watch.stop()


def _answer(story: Story, served: Served, why: str) -> float:
    current = story.model.champion()
    assert current is not None
    _until(lambda: served.current is not None and served.current.champion.epoch == current.epoch)
    override(story.model, 3 - current.version, "a benchmark", why)
    decided = time.monotonic()
    return _until(lambda: served.current is not None and served.current.champion.epoch > current.epoch) - decided


def _summary(seconds: list[float]) -> dict[str, float]:
    return {
        "count": len(seconds),
        "median_s": round(statistics.median(seconds), 3),
        "most_s": round(max(seconds), 3),
    }


def _until(condition: Callable[[], bool]) -> float:
    """Wait for a condition; the moment at which it was met."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not happen within {_PATIENCE:g} s")
        time.sleep(0.002)
    return time.monotonic()


if __name__ == "__main__":
    main()
