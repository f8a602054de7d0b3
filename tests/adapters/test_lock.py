"""A lock that was lost without its holder's notice: the next holder works alone all the same."""

from datetime import datetime
from pathlib import Path
from threading import Event, Thread

import pytest
import sqlalchemy as sa

from tests import postgres
from trueup.adapters.sql.engines import connect, reading, writing
from trueup.adapters.sql.fencing import LOCKS
from trueup.adapters.sql.lock import alone
from trueup.errors import LockLost
from trueup.ledger.entries import Decision
from trueup.ledger.ledger import Ledger
from trueup.ledger.tables import METADATA

NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.Text))


@pytest.fixture
def engines(database_url):
    """Two engines of one database, as of two processes."""
    both = connect(database_url), connect(database_url)
    NOTES.metadata.create_all(both[0])
    yield both
    for engine in both:
        engine.dispose()


def written(engine) -> list[str]:
    with reading(engine) as connection:
        return list(connection.scalars(sa.select(NOTES.c.text)))


def write(engine, text: str) -> None:
    with writing(engine) as connection:
        connection.execute(sa.insert(NOTES), {"text": text})


def test_each_holder_counts_the_token_up(engines):
    for engine in engines:
        with alone(engine, "one") as held, alone(engine, "other") as other:
            assert held
            assert other
            write(engine, "within both")
    with reading(engines[0]) as connection:
        rows = connection.execute(sa.select(LOCKS.c.name, LOCKS.c.token, LOCKS.c.holder)).all()
    assert {row.name: row.token for row in rows} == {"one": 2, "other": 2}
    assert all("process" in row.holder for row in rows)
    assert written(engines[0]) == ["within both"] * 2


def test_a_held_lock_is_refused_at_once_and_after_a_wait(engines):
    with alone(engines[0], "one") as first:
        assert first
        for wait in (0, 0.2):
            with alone(engines[1], "one", wait) as second:
                assert not second
    with alone(engines[1], "one") as second:
        assert second


def test_who_waits_is_woken(engines):
    waiting, got = Event(), []

    def wait():
        waiting.set()
        with alone(engines[1], "one", wait=60) as held:
            got.append(held)

    thread = Thread(target=wait)
    with alone(engines[0], "one"):
        thread.start()
        assert waiting.wait(30)
        assert not got
    thread.join(30)
    assert got == [True]


def take_away(url: str, engine: sa.Engine) -> None:
    """Let an engine's locks be lost: PostgreSQL ends its sessions, for SQLite somebody removes the files."""
    if engine.dialect.name == "postgresql":
        others = "pid <> pg_backend_pid() AND datname = current_database() AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')"
        postgres.execute(
            sa.make_url(url), f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {others}"
        )
        return
    Path(f"{engine.url.database}.one.lock").unlink()


class Holder(Thread):
    """Another process: it holds the lock until `release` is set."""

    def __init__(self, engine: sa.Engine) -> None:
        super().__init__()
        self.engine, self.took, self.release = engine, Event(), Event()

    def run(self) -> None:
        with alone(self.engine, "one", wait=30) as held:
            assert held
            write(self.engine, "by the second")
            self.took.set()
            assert self.release.wait(60)
            write(self.engine, "by the second, later")


def test_a_holder_that_lost_its_lock_records_nothing_after_the_next_one_began(engines, database_url):
    first, second = engines
    METADATA.create_all(first)
    other = Holder(second)
    with alone(first, "one") as held:
        assert held
        write(first, "with the lock")
        take_away(database_url, first)
        write(first, "nobody else has it")
        other.start()
        assert other.took.wait(60)
        with pytest.raises(LockLost, match=r"the lock one was lost: .* process .* holds it now"):
            write(first, "too late")
        with pytest.raises(LockLost):
            Ledger(first).append(Decision("late", "toy", "held", datetime(2013, 1, 1)))
        other.release.set()
        other.join(60)
        with pytest.raises(LockLost):  # the token stays, whether or not its holder does
            write(first, "too late")
        assert Ledger(first).entries() == []  # reading goes on
    write(first, "outside of the block")
    assert written(second) == [
        "with the lock", "nobody else has it", "by the second", "by the second, later", "outside of the block"
    ]  # fmt: skip


def test_the_next_holder_waits_for_a_transaction_of_the_one_before(postgres_url):
    """A transaction that began with the lock ends before the next holder has it."""
    first, second = connect(postgres_url), connect(postgres_url)
    NOTES.metadata.create_all(first)
    other = Holder(second)
    other.release.set()
    with alone(first, "one"), writing(first) as connection:
        take_away(postgres_url, first)
        other.start()
        assert not other.took.wait(0.5)
        connection.execute(sa.insert(NOTES), {"text": "begun before"})
    other.join(60)
    assert written(second) == ["begun before", "by the second", "by the second, later"]
    for engine in (first, second):
        engine.dispose()
