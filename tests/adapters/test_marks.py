"""A file is removed at the second look that finds it unneeded, by the database's clock."""

from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.tables import MARKED
from trueup.config.settings import Settings
from trueup.home import Home

DAY = timedelta(days=1)


def put(store, key: str) -> None:
    with store.files.writing(key) as stream:
        stream.write(b"rows")


def strays(store):
    return list(store.files.listed("predictions/toy"))


def let_pass(store, span: timedelta) -> None:
    """Let marks be so much older."""
    with reading(store.engine) as connection:
        rows = connection.execute(sa.select(MARKED)).all()
    with writing(store.engine) as connection:
        for row in rows:
            older = sa.update(MARKED).where(MARKED.c.key == row.key)
            connection.execute(older.values(marked_at=row.marked_at - span))


def test_the_first_look_marks_and_a_late_second_one_removes(store):
    put(store, "predictions/toy/champion/stray.parquet")
    soon = datetime.now(UTC) + timedelta(hours=1)

    def sweep():
        return store.sweep("predictions", "toy", soon, wait=DAY)

    assert sweep() == sweep() == (0, 0)
    assert store.marked("toy/") == 1
    let_pass(store, DAY - timedelta(minutes=5))
    assert sweep() == (0, 0)
    let_pass(store, timedelta(minutes=6))
    assert sweep() == (1, 4)
    assert store.marked("toy/") == 0
    assert strays(store) == []


def test_a_file_that_was_needed_in_between_waits_anew(store):
    put(store, "predictions/toy/a.parquet")
    put(store, "predictions/toy/b.parquet")
    first, second = sorted(strays(store), key=lambda entry: entry.key)
    assert store.ripe("toy/predictions", [first, second], DAY) == []
    let_pass(store, 2 * DAY)
    assert store.ripe("toy/predictions", [second], DAY) == [second]  # the first one is in use
    assert store.ripe("toy/predictions", [first], DAY) == []
    assert store.marked("toy/") == 1
    assert store.ripe("other/predictions", [first], DAY) == []
    assert store.marked("toy/") == 1


def test_a_dry_run_counts_all_and_marks_nothing(store):
    put(store, "predictions/toy/a.parquet")
    assert store.ripe("toy/predictions", strays(store), DAY, dry_run=True) == strays(store)
    assert store.marked("toy/") == 0


@pytest.mark.parametrize("wrong", [timedelta(hours=1), timedelta(hours=-1), timedelta(days=400)])
def test_a_home_on_postgresql_goes_by_its_clock(postgres_url, tmp_path, monkeypatch, wrong):
    monkeypatch.setattr("trueup.home._wall_clock", lambda: datetime.now(UTC) + wrong)
    home = Home(Settings(home=tmp_path / "shared", database_url=postgres_url))
    assert abs(home.now() - datetime.now(UTC)) < timedelta(minutes=1)
    assert home.second_look == DAY
    home.close()
    alone = Home(Settings(home=tmp_path / "alone"))
    assert abs(alone.now() - datetime.now(UTC) - wrong) < timedelta(minutes=1)
    assert alone.second_look == timedelta(0)
