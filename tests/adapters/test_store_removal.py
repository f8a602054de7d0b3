"""What is removed from the store, what never is, and what a crash in between leads to; on SQLite and PostgreSQL."""

import os
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.adapters.test_store import FEBRUARY, JANUARY, MARCH, files, predicted, rows
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.store import Store, tables
from trueup.domain.types import ROW_ID
from trueup.errors import WorkError

DATASET = "toy/rows"


def now():
    return datetime.now(UTC)


def soon():
    """A moment from which everything is old, whatever zone the database writes its times in."""
    return now() + timedelta(days=1)


def age(file, days=2):
    then = file.stat().st_mtime - days * 86_400
    os.utime(file, (then, then))


def names(home):
    return {f.relative_to(home).as_posix() for f in files(home)}


def test_homes_from_before_removal_get_their_columns_and_keep_their_rows(home, engine):
    store = Store(LocalFiles(home), engine)
    ref = store.land(DATASET, JANUARY, rows())
    store.save_predictions("toy", JANUARY, predicted(range(4)))
    with engine.begin() as connection:
        for table in ("batches", "predictions"):
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN removed_at")
    for _ in range(2):
        again = Store(LocalFiles(home), engine)
        assert again.batches(DATASET) == [ref]
        assert len(again.read_predictions("toy", JANUARY)) == 4
        assert again.superseded("toy") == []
        assert not again.predictions_removed("toy", JANUARY)


def test_rows_whose_predictions_were_removed_are_never_predicted_again(store, home):
    store.save_predictions("toy", JANUARY, predicted(range(4)))
    store.save_predictions("toy", FEBRUARY, predicted(range(3), window=FEBRUARY))
    store.save_predictions("toy", JANUARY, predicted(range(2)), role="shadow:1")
    store.save_predictions("other", JANUARY, predicted(range(2)))
    old = store.old_predictions("toy", soon())
    assert sorted(old) == [("champion", 1), ("champion", 2), ("shadow:1", 1)]
    assert store.old_predictions("toy", now() - timedelta(days=2)) == []

    before = names(home)
    january = [("champion", 1)]
    promised = store.sweep("predictions", "toy", now(), january, dry_run=True)
    assert promised[0] == 1
    assert names(home) == before
    store.retire_predictions("toy", january, now())  # and the process dies
    assert names(home) == before
    assert store.read_predictions("toy", JANUARY).empty
    assert store.sweep("predictions", "toy", now() - timedelta(days=1)) == promised
    assert store.sweep("predictions", "toy", now() - timedelta(days=1)) == (0, 0)

    assert len(before - names(home)) == 1
    assert store.read_predictions("toy", JANUARY, columns=[ROW_ID]).empty
    assert store.predictions_removed("toy", JANUARY)
    assert store.save_predictions("toy", JANUARY, predicted(range(9))) == 0
    assert store.read_predictions("toy", JANUARY).empty
    assert not store.predictions_removed("toy", FEBRUARY)
    assert len(store.read_predictions("toy", FEBRUARY)) == 3
    assert len(store.read_predictions("toy", JANUARY, "shadow:1")) == 2
    assert store.save_predictions("toy", MARCH, predicted(range(5), window=MARCH)) == 5
    assert len(store.read_predictions("other", JANUARY)) == 2


def test_a_window_with_a_young_part_keeps_all_its_parts(store, engine):
    store.save_predictions("toy", JANUARY, predicted(range(4)))
    store.save_predictions("toy", JANUARY, predicted(range(6)))
    store.save_predictions("toy", FEBRUARY, predicted(range(3), window=FEBRUARY))
    table = tables.PREDICTIONS
    long_ago = {"recorded_at": datetime(2000, 1, 1)}
    with engine.begin() as connection:
        connection.execute(sa.update(table).where(table.c.part != 2).values(long_ago))
    assert store.old_predictions("toy", datetime(2001, 1, 1, tzinfo=UTC)) == [("champion", 3)]


def test_only_superseded_revisions_may_go_and_content_that_came_back_stays(store, home):
    first = store.land(DATASET, JANUARY, rows(6))
    second = store.land(DATASET, JANUARY, rows(7))
    store.land(DATASET, FEBRUARY, rows(5, FEBRUARY))
    store.land("other/rows", JANUARY, rows(6))
    store.land("other/rows", JANUARY, rows(8))
    (found,) = store.superseded("toy")
    assert found.ref == first
    assert found.landed_at <= found.superseded_at

    promised = store.sweep("batches", "toy", now(), {first.sequence}, dry_run=True)
    assert promised == (1, (home / first.path).stat().st_size)
    store.retire_batches([first.sequence], now())
    assert store.superseded("toy") == []
    third = store.land(DATASET, JANUARY, rows(6))  # before the file was swept away
    assert third.path == first.path
    assert third.revision == 3
    assert store.sweep("batches", "toy", soon()) == (0, 0)
    assert len(store.read(third, verify=True)) == 6

    assert [s.ref for s in store.superseded("toy")] == [second]
    store.retire_batches([second.sequence], now())
    assert store.sweep("batches", "toy", now() - timedelta(days=1))[0] == 1
    assert not (home / second.path).exists()
    assert store.batches(DATASET)[0] == third
    assert len(store.read(store.batches(DATASET))) == 11
    assert len(store.superseded("other")) == 1
    with pytest.raises(WorkError, match=r"landing 2 .* was removed on .* backup"):
        store.batch(second.sequence)
    assert store.batch(third.sequence) == third


def test_content_of_which_an_old_file_is_swept_away_while_it_lands_is_written_anew(store, home, engine):
    ref = store.land(DATASET, JANUARY, rows(6))
    store.land(DATASET, JANUARY, rows(7))
    store.retire_batches([ref.sequence], now())

    def sweep(_connection, _cursor, statement, *_):
        if statement.startswith("INSERT INTO batches"):
            (home / ref.path).unlink()

    sa.event.listen(engine, "before_cursor_execute", sweep)
    again = store.land(DATASET, JANUARY, rows(6))
    assert again.path == ref.path
    assert len(store.read(again, verify=True)) == 6


def test_what_a_crash_left_goes_once_nobody_can_be_at_work_on_it(store, home):
    ref = store.land(DATASET, JANUARY, rows(6))
    store.save_predictions("toy", JANUARY, predicted(range(4)))
    held = rows(2)[[ROW_ID]].assign(expectation="x is there")
    store.quarantine(ref, held)
    kept = names(home)
    left = {
        home / "batches/toy/rows/20130101T000000-20130201T000000/aa.parquet": "batches",
        home / "predictions/toy/champion/aa.parquet": "predictions",
        home / "quarantine/toy/rows/9-aa.parquet": "quarantine",
    }
    half = home / "features/aa/.aa.parquet.0123.tmp"
    for file in (*left, half):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"half")
    yesterday = now() - timedelta(days=1)
    for file, kind in left.items():
        assert store.sweep(kind, "toy", yesterday) == (0, 0)
        age(file)
        assert store.sweep(kind, "toy", yesterday, dry_run=True) == (1, 4)
        assert file.exists()
        assert store.sweep(kind, "toy", yesterday) == (1, 4)
    assert store.leftovers(yesterday) == []
    age(half)
    assert [entry.key for entry in store.leftovers(yesterday)] == [half.relative_to(home).as_posix()]
    for file in files(home):
        age(file, 900)
    for kind in ("batches", "predictions", "quarantine"):
        assert store.sweep(kind, "toy", yesterday) == (0, 0)
    assert names(home) - {half.relative_to(home).as_posix()} == kept


def test_the_judgements_of_a_removed_revision_go_with_it(store, home):
    first = store.land(DATASET, JANUARY, rows(6))
    store.quarantine(first, rows(2)[[ROW_ID]].assign(expectation="x is there"))
    second = store.land(DATASET, JANUARY, rows(7))
    store.quarantine(second, rows(1)[[ROW_ID]].assign(expectation="x is there"))
    store.retire_batches([first.sequence], now())
    assert store.sweep("quarantine", "toy", now() - timedelta(days=1))[0] == 1
    assert len(store.quarantined_ids(second)) == 1
    assert len(list((home / "quarantine").rglob("*.parquet"))) == 1


def test_features_are_old_when_nobody_asked_for_them(store, engine):
    for key in ("aaaaaaaa", "bbbbbbbb", "cccccccc"):
        store.put_features(key, rows(3))
    with engine.begin() as connection:
        connection.execute(sa.update(tables.FEATURES_USED).values(used_at=datetime(2013, 1, 1)))
    another_process, yesterday = Store(store.files, engine), now() - timedelta(days=1)
    assert another_process.has_features("aaaaaaaa")
    assert not another_process.has_features("dddddddd")
    assert [f.key for f in store.unused_features({"bbbbbbbb"}, yesterday)] == ["features/cc/cccccccc.parquet"]


def test_features_from_before_uses_were_noted_are_as_old_as_their_file(store, home, engine):
    for key in ("aaaaaaaa", "bbbbbbbb"):
        store.put_features(key, rows(3))
    with engine.begin() as connection:
        connection.execute(sa.delete(tables.FEATURES_USED))
    age(home / "features/aa/aaaaaaaa.parquet")
    unused = store.unused_features(set(), now() - timedelta(days=1))
    assert [f.key for f in unused] == ["features/aa/aaaaaaaa.parquet"]
