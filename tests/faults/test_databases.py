"""Many at once, a database that is locked, and a disk that is full."""

import multiprocessing
import os
import resource
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest

from tests import streams
from tests.faults.homes import CONFIG, FRAME, WEEKS, copied
from tests.faults.invariants import acknowledged, require_nothing_lost, require_settled, require_sound
from tests.forked import Started, forked
from tests.story import Story, window
from trueup.errors import StaleDecision, TrueupError
from trueup.governance.alias import align
from trueup.ledger.entries import Decision, Promotion
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile
from trueup.model import Model

pytestmark = pytest.mark.thorough

NOW = streams.week(WEEKS)
ROUNDS = 200
LOCKED_SECONDS = 30


def promotes(story: Story, version: int, barrier):
    """Try to promote a version in each round; return the champion after each, by the ledger and by MLflow."""
    config, home, seen = story.config, story.home, []
    current = Model(config, home).champion()
    for epoch in range(current.epoch, current.epoch + ROUNDS):
        barrier.wait(120)
        asked = Promotion(version, f"{version}" * 64, epoch)
        try:
            home.ledger.append(Decision(f"{epoch}:{version}", "toy", "promoted", NOW, promotion=asked))
            won = True
        except StaleDecision:
            won = False
        align(Model(config, home))
        barrier.wait(120)  # whoever looks, both are done
        found = home.ledger.champion("toy")
        seen.append((won, found.epoch, found.version, home.registry.champion_alias("toy")))
    assert home.ledger.verify() == []
    return seen


def test_of_two_promoters_one_wins_each_time_and_the_alias_follows(homes, tmp_path):
    story = copied(homes.two, tmp_path / "copy")
    barrier = multiprocessing.get_context("fork").Barrier(2)
    first, second = (w.result(400) for w in [Started(promotes, story, version, barrier) for version in (1, 2)])
    assert len(first) == len(second) == ROUNDS
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one[0] != other[0], number
        assert one[1:] == other[1:]
        _, epoch, version, alias = one
        assert epoch == number + 3  # two champions were there before
        assert version == alias == (1 if one[0] else 2)
    assert {won for won, *_ in first} == {True, False}  # not one of them always


def first_run(folder: Path, barrier):
    story = Story.at(folder, FRAME)
    barrier.wait(120)
    done = turn.cycle(steps, story.model, streams.week(1), retrain="never")
    story.home.tracking.note("toy", "greeting", "hello")
    return [c.batch.window for c in done.batches]


def one_home(folder: Path):
    story = Story.at(folder, FRAME)
    for name in ("trueup.db", "mlflow.db"):
        with closing(sqlite3.connect(folder / "home" / name)) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert story.home.tracking.noted("toy", "greeting") == "hello"
    story.turn(5)
    require_settled(story.model)
    assert story.home.ledger.champion("toy").epoch == 1
    return [b.sequence for d in ("toy/rows", "toy/labels") for b in story.home.store.batches(d)]


@pytest.mark.usefixtures("homes")  # which have imported everything
def test_eight_first_runs_on_an_empty_home_make_one_healthy_home(tmp_path):
    streams.write(tmp_path, FRAME, CONFIG)
    barrier = multiprocessing.get_context("fork").Barrier(8)
    found = [w.result(400) for w in [Started(first_run, tmp_path, barrier) for _ in range(8)]]
    assert found == [[window(0)]] * 8
    assert sorted(forked(one_home, tmp_path)) == list(range(1, 11))


def lock(files: list[Path], seconds: float, holding):
    """Another process that writes to databases and takes its time."""
    databases = [sqlite3.connect(file, isolation_level=None) for file in files]
    for database in databases:
        database.execute("BEGIN IMMEDIATE")
    holding.set()
    time.sleep(seconds)
    for database in databases:
        database.execute("COMMIT")
        database.close()


def decide(story: Story):
    """A decision, with what it needs of the store and of MLflow; and how long it took."""
    began = time.monotonic()
    story.home.ledger.append(Decision("one more", "toy", "held", NOW))
    return time.monotonic() - began


def note(story: Story):
    began = time.monotonic()
    run_id = story.home.tracking.start("toy", "one more")
    story.home.tracking.finish(run_id)
    return time.monotonic() - began


def note_late(story: Story):
    """As `note`, with MLflow imported and opened before, so that all of the wait is for the lock."""
    assert story.home.tracking.client
    return note(story)


def test_who_finds_the_databases_locked_waits(homes, tmp_path):
    story = copied(homes.five, tmp_path / "copy")
    holding = multiprocessing.get_context("fork").Event()
    files = [tmp_path / "copy" / "home" / name for name in ("trueup.db", "mlflow.db")]
    holder = Started(lock, files, LOCKED_SECONDS, holding)
    assert holding.wait(60)
    waiting = [Started(what, story) for what in (decide, note, note_late)]
    waited = [w.result(LOCKED_SECONDS + 120) for w in waiting]
    holder.result()
    assert min(waited) > LOCKED_SECONDS / 2
    forked(sound_with_one_more, story)


def sound_with_one_more(story: Story):
    require_settled(story.model)
    assert story.home.ledger.find("one more") is not None


def full(story: Story, room: int | None):
    """Retrain on a disk, or with files, that can grow no further. Gives the error's code and what it says."""
    if room is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # a write beyond raises OSError, as a full disk's does
    try:
        turn.retrain(steps, story.model, NOW, "manual")
    except TrueupError as error:
        return error.exit_code, str(error)
    return 0, ""


def left(story: Story):
    require_sound(story.model)
    return acknowledged(story.home, WEEKS), story.model.champion().version


def recovered(story: Story):
    reconcile(story.model)
    done = turn.retrain(steps, story.model, NOW, "manual")
    require_settled(story.model)
    return done.outcome, acknowledged(story.home, WEEKS)


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, in memory; None where none can be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(_mount("-t", "tmpfs", "tmpfs", str(place)), capture_output=True, check=False).returncode:
        yield None
        return
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*words: str, size: int = 200_000_000) -> list[str]:
    return ["mount", "-o", f"size={size}", *words]


def leave(disk: Path, room: int) -> None:
    """Let so many bytes be free on a disk."""
    found = os.statvfs(disk)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used + room}", str(disk)], check=True)


@pytest.mark.parametrize("room", [16_384, 150_000, 400_000])
def test_a_full_disk_is_said_and_the_old_champion_stays(homes, tmp_path, disk, room):
    story = copied(homes.five, (disk or tmp_path) / "copy")
    before, version = forked(left, story)
    if disk:
        leave(disk, room)
    biggest = max(f.stat().st_size for f in (story.folder / "home").rglob("*") if f.is_file())
    code, said = forked(full, story, None if disk else biggest + room)
    assert code == 1, said
    assert any(word in said.lower() for word in ("disk", "space", "large")), said
    after, still = forked(left, story)
    assert still == version
    require_nothing_lost(before, after)
    if disk:
        leave(disk, 100_000_000)
    outcome, after = forked(recovered, story)
    assert outcome == "promoted"
    require_nothing_lost(before, after)
