"""A home copied while it is at work, and made again somewhere else: the same champion, ledger and history."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from pandas.testing import assert_frame_equal

from tests import streams
from tests.story import CONFIG, Story, in_week, stream
from trueup.audit.verify import anchor
from trueup.config.settings import Settings
from trueup.errors import UsageError, WorkError
from trueup.governance.rollback import roll_back
from trueup.governance.status import decisions, overview
from trueup.home import Home
from trueup.ledger.entries import Decision
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile
from trueup.model import Model
from trueup.upkeep import backup


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A champion, a challenger, predictions, a correction and rows in quarantine."""
    rows = stream(10 * 7, change_on=6 * 7)
    rows.loc[rows.index[in_week(rows, 6)][:2], "x"] = 99.0
    told = Story(tmp_path_factory.mktemp("told"), rows, CONFIG)
    told.turn(5)
    for week in (7, 8):
        turn.cycle(steps, told.model, streams.week(week), retrain="never")
    turn.challenge(steps, told.model, streams.week(8), "manual")
    return told


def opened(story, home, **places):
    """The same configs on another home, whose databases may lie elsewhere."""
    other = object.__new__(Story)
    other.folder, other.frame, other.configs = story.folder, story.frame, story.configs
    other.open()
    other.home = Home(Settings(home=home, configs=story.configs, **places))
    other.home.background = story.home.background
    return other


def history(story):
    home = story.home
    facts = story.facts()
    facts.pop("files")  # by the folder of the story
    files = sorted(str(p.relative_to(home.root)) for p in home.root.rglob("*.parquet"))
    return facts | {
        "files": files,
        "status": overview(Model(story.config, home)),
        "ledger": decisions(home, None, 99),
    }


@pytest.fixture
def moved(told, tmp_path):
    """The home restored at another place, while the first one is out of the way."""
    before = history(told)
    served = [told.predictions(week) for week in range(8)]
    saved = backup.backup(told.home, tmp_path / "copy")
    assert saved.elsewhere == ()
    assert saved.files == len([f for f in (tmp_path / "copy").rglob("*") if f.is_file()]) - 1  # and its record
    told.home.close()
    home, aside = told.folder / "home", told.folder / "aside"
    home.rename(aside)
    other = opened(told, tmp_path / "elsewhere" / "home")
    backup.restore(other.home.settings, tmp_path / "copy")
    other.before, other.served = before, served
    yield other
    other.home.close()
    assert not home.exists()  # nothing was written to the place that the backup came from
    aside.rename(home)
    told.open()


def test_a_restored_home_is_the_same(moved):
    assert history(moved) == moved.before
    for week, frame in enumerate(moved.served):
        assert_frame_equal(moved.predictions(week), frame)
    assert moved.home.ledger.verify() == []
    current = moved.model.champion()
    assert current.load(moved.home) is not None
    assert current.version == moved.before["status"].champion


def test_a_run_again_changes_nothing_and_the_next_batch_goes_on(moved):
    turn.cycle(steps, moved.model, streams.week(8), retrain="never")
    assert history(moved) == moved.before
    done = moved.turn(9)
    assert done.scored[-1].new == 560
    assert done.observed[-1].figures.drift is not None
    assert reconcile(moved.model).alias is None


def test_models_are_kept_at_the_new_place_from_now_on(moved):
    import mlflow.sklearn

    old = moved.model.champion()
    decided = turn.challenge(steps, moved.model, streams.week(10), "manual")
    assert decided.version is not None
    newest = moved.home.registry.versions("toy")[-1]
    assert newest.uri.startswith(str(moved.home.root))
    client = moved.home.tracking.client
    for version in moved.home.registry.versions("toy"):
        assert version.uri.startswith(f"{moved.home.root}/mlartifacts/toy/models/m-")
        assert client.list_artifacts(version.run_id) == []
        assert mlflow.sklearn.load_model(version.uri) is not None
    for model in client.search_logged_models([client.get_experiment_by_name("toy").experiment_id]):
        assert model.artifact_location.startswith(str(moved.home.root))
    assert client.get_run(newest.run_id).info.artifact_uri.startswith(str(moved.home.root))
    if moved.model.champion().version != old.version:
        assert roll_back(moved.model, old.version, "a tester", "a test").version == old.version


BUSY = """
from datetime import datetime, timedelta
import numpy as np
import pandas as pd
from tests.adapters.test_mlflow_models import SCHEMA, fitted
from tests.adapters.test_store import predicted, rows
from trueup.config.tasks import Task
from trueup.config.settings import Settings
from trueup.domain.types import Window
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record
from trueup.home import Home
from trueup.audit.verify import anchor

ports, model = Home(Settings()), fitted()
run = ports.tracking.start("busy", "busy")
for number in range(100_000):
    day = Window(datetime(2013, 1, 1) + timedelta(days=number), datetime(2013, 1, 2) + timedelta(days=number))
    ports.store.land("busy/rows", day, rows(6, day))
    ports.store.save_predictions("busy", day, predicted(range(4), window=day))
    path = ports.store.put_evaluation(f"busy-{number}", rows(6))
    body = {"path": path}
    if number % 10 == 0:
        logged = ports.registry.log(model, SCHEMA, Task.BINARY, run)
        version = ports.registry.register("busy", logged.uri)
        body |= {"version": version, "uri": logged.uri, "digest": logged.manifest_digest}
    ports.ledger.append(Decision(f"busy:{number}", "busy", "tried", day.end, Record(**body)))
    print(number, flush=True)
"""


def test_a_copy_made_while_everything_is_written_is_whole(tmp_path, monkeypatch):
    """Whatever the copied databases name is there, and is what it was; each of ten files waits for a new entry."""
    copy = backup._copy
    busy = Home(Settings(home=tmp_path / "busy"))
    waits: list[str] = []

    def copy_after_an_entry(root, name, target):
        if name.suffix != ".db" and len(waits) < 10:
            waits.append(name)
            written, end = len(busy.ledger.entries("busy")), time.monotonic() + 30
            while len(busy.ledger.entries("busy")) == written and time.monotonic() < end:
                time.sleep(0.001)
        return copy(root, name, target)

    monkeypatch.setattr(backup, "_copy", copy_after_an_entry)
    worker = subprocess.Popen(
        [sys.executable, "-c", BUSY],
        env={**os.environ, "TRUEUP_HOME": str(busy.root)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        while (line := worker.stdout.readline()) and int(line) < 30:
            pass
        for number in range(2):
            settings = Settings(home=tmp_path / f"home {number}")
            before = len(busy.ledger.entries("busy"))
            waits.clear()
            backup.backup(busy, tmp_path / f"copy {number}")
            assert len(busy.ledger.entries("busy")) - before > 5, "nothing was written while it was copied"
            backup.restore(settings, tmp_path / f"copy {number}")
            check_whole(Home(settings), before)
        assert worker.poll() is None
    finally:
        worker.kill()
        worker.communicate()
        busy.close()


def check_whole(home, least):
    assert home.ledger.verify() == []
    entries = home.ledger.entries("busy")
    assert len(entries) >= least
    batches = home.store.batches("busy/rows")
    assert len(batches) >= len(entries)
    for ref in batches:
        home.store.read(ref, verify=True)
        assert len(home.store.read_predictions("busy", ref.window)) in {0, 4}
    versions = {v.version for v in home.registry.versions("busy")}
    for entry in entries:
        noted = json.loads(entry.text)
        home.store.read_evaluation(noted["path"])
        if "uri" in noted:
            home.registry.load(noted["uri"], noted["digest"])
            assert noted["version"] in versions
    for file in ("trueup.db", "mlflow.db"):
        with closing(sqlite3.connect(home.root / file)) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    home.close()


def test_a_restore_that_was_killed_leaves_no_half_home(told, tmp_path):
    backup.backup(told.home, tmp_path / "copy")
    code = (
        "import os, shutil, signal, sys\nfrom pathlib import Path\nfrom trueup.config.settings import Settings\n"
        "from trueup.upkeep import backup\ncopy, left = shutil.copy2, [20]\n"
        "def die(*args, **kwargs):\n    left[0] -= 1\n    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return copy(*args, **kwargs)\n"
        "shutil.copytree.__defaults__ = tuple(die if d is copy else d for d in shutil.copytree.__defaults__)\n"
        "backup.restore(Settings(), Path(sys.argv[1]))\n"
    )
    home = tmp_path / "new"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "copy")],
        env={**os.environ, "TRUEUP_HOME": str(home)}, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert not home.exists()
    backup.restore(Settings(home=home), tmp_path / "copy")
    assert (home / "home.id").read_text() == (told.home.root / "home.id").read_text()
    assert not home.with_name("new.restoring").exists()


def test_what_cannot_be_right_is_refused(told, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").write_text("mine")
    for target, why in ((tmp_path / "full", "not empty"), (told.home.root / "copy", "is inside the home")):
        with pytest.raises(UsageError, match=why):
            backup.backup(told.home, target)
    empty = Home(Settings(home=tmp_path / "nothing"))
    with pytest.raises(UsageError, match="is empty; set TRUEUP_HOME"):
        backup.backup(empty, tmp_path / "copy")
    with told.home.alone_with_files(), pytest.raises(WorkError, match="or another backup is running"):
        backup.backup(told.home, tmp_path / "copy")
    backup.backup(told.home, tmp_path / "copy")
    with pytest.raises(UsageError, match="not empty"):
        backup.restore(Settings(home=tmp_path / "full"), tmp_path / "copy")
    (tmp_path / "copy" / backup.RECORD).unlink()  # as if the backup had been killed
    with pytest.raises(UsageError, match="is not a complete backup"):
        backup.restore(Settings(home=tmp_path / "new"), tmp_path / "copy")
    assert not (tmp_path / "new").exists()


def test_what_lies_elsewhere_is_said(told, tmp_path):
    url = "postgresql://me:s3cret@db:5432/trueup"
    settings = Settings(home=told.home.root, mlflow_artifacts="s3://bucket/models", prefect_database_url=url)
    home = Home(settings)
    saved = backup.backup(home, tmp_path / "copy")
    home.close()
    assert saved.elsewhere == (
        "MLflow's artifacts: s3://bucket/models",
        "Prefect: postgresql://me:***@db:5432/trueup",
    )
    about = json.loads((tmp_path / "copy" / backup.RECORD).read_text())
    assert about["elsewhere"] == list(saved.elsewhere)
    assert "s3cret" not in str(about)
    shutil.rmtree(tmp_path / "copy")


def test_by_the_command_line_a_home_is_copied_restored_and_verified(told, tmp_path, command_line):
    """While decisions are anchored: no anchor of the copy may name an entry that the copy does not have."""
    busy, ended = Home(Settings(home=told.home.root, configs=told.configs)), threading.Event()

    def decide():
        number = 0
        while not ended.is_set():
            number += 1
            busy.ledger.append(Decision(f"toy:noted:{number}", "toy", "noted", streams.week(10)))
            anchor(busy)

    deciding = threading.Thread(target=decide)
    deciding.start()
    try:
        saved = command_line(told.folder, told.home.root)("backup", str(tmp_path / "copy"))
    finally:
        ended.set()
        deciding.join()
        busy.close()
    assert saved.code == 0, saved.err
    new = command_line(told.folder, tmp_path / "new")
    restored = new("restore", str(tmp_path / "copy"))
    assert restored.code == 0, restored.err
    verified = new("ledger", "verify")
    assert verified.code == 0, verified.out
