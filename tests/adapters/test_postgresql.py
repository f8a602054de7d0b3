"""Connections to PostgreSQL: poolers, restarts and cut connections."""

from datetime import datetime
from threading import Thread

import pytest
import sqlalchemy as sa

from tests import postgres
from trueup.adapters.sql import postgresql
from trueup.adapters.sql.engines import connect, initialise, reading, writing
from trueup.adapters.sql.lock import alone
from trueup.errors import DatabaseUnavailable, LedgerUnavailable, LockLost, UsageError, WorkError
from trueup.ledger.entries import Decision
from trueup.ledger.ledger import Ledger
from trueup.ledger.tables import METADATA

NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.Text))


def test_a_pooler_in_transaction_mode_is_refused(new_database, opened):
    url = sa.make_url(new_database())
    with postgres.pooled(url, "transaction") as pooled:
        engine = opened(pooled)
        for begin in (lambda: initialise(engine, METADATA), lambda: alone(engine, "one").__enter__()):
            with pytest.raises(UsageError, match=r"is a pooler in transaction mode.*pool_mode = session"):
                begin()
        assert str(pooled.password) not in str(engine.url)


def test_a_pooler_in_session_mode_is_accepted(new_database, opened):
    url = sa.make_url(new_database())
    with postgres.pooled(url, "session") as pooled:
        engine, other = opened(pooled), opened(url)
        initialise(engine, METADATA)
        with alone(engine, "one") as held, alone(other, "one") as second:
            assert held
            assert not second


@pytest.fixture
def opened():
    """Opens engines that are closed after the test."""
    engines = []

    def open_one(url: sa.URL) -> sa.Engine:
        engines.append(connect(url.render_as_string(hide_password=False)))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.dispose()


@pytest.fixture(scope="module")
def cluster():
    """A PostgreSQL to stop and start."""
    with postgres.cluster() as cluster:
        yield cluster


def write(engine: sa.Engine, note: str) -> None:
    with writing(engine) as connection:
        connection.execute(sa.insert(NOTES), {"text": note})


def test_a_process_waits_for_a_server_that_restarts(cluster, opened):
    engine, waiting = opened(cluster.url), opened(cluster.url)
    NOTES.metadata.create_all(engine)
    METADATA.create_all(engine)
    got = []

    def wait_for_the_lock() -> None:
        with alone(waiting, "one", wait=120) as held:
            got.append(held)
            write(waiting, "by the one that waited")

    other = Thread(target=wait_for_the_lock)
    with alone(engine, "one") as held:
        assert held
        write(engine, "before")
        other.start()
        sessions = sa.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        while not _scalar(engine, sessions):  # until the other one waits
            pass
        cluster.stop()
        again = Thread(target=cluster.start)
        again.start()
        other.join(120)  # its session came back, and the lock was free
        assert got == [True]
        with pytest.raises(LockLost):
            write(engine, "after")
        again.join()
    write(engine, "later")
    with reading(engine) as connection:
        assert list(connection.scalars(sa.select(NOTES.c.text))) == ["before", "by the one that waited", "later"]


def _scalar(engine, query):
    with reading(engine) as connection:
        return connection.scalar(query)


def test_a_transaction_that_is_cut_is_a_transient_error_and_leaves_nothing(cluster, opened):
    engine = opened(cluster.url)
    METADATA.create_all(engine)
    NOTES.metadata.create_all(engine)
    before = _scalar(engine, sa.select(sa.func.count()).select_from(NOTES))
    cut = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'idle in transaction'"

    def cut_in_the_middle() -> None:
        with writing(engine) as connection:
            connection.execute(sa.insert(NOTES), {"text": "half"})
            postgres.execute(cluster.url, cut)
            connection.execute(sa.insert(NOTES), {"text": "other half"})

    with pytest.raises(DatabaseUnavailable, match="what was not recorded did not happen") as found:
        cut_in_the_middle()
    assert found.value.transient
    assert _scalar(engine, sa.select(sa.func.count()).select_from(NOTES)) == before
    ledger = Ledger(engine)
    with pytest.raises(LedgerUnavailable), ledger._writing():
        postgres.execute(cluster.url, cut)
    ledger.append(Decision("one", "toy", "held", datetime(2013, 1, 1)))
    assert ledger.verify() == []


def test_a_server_that_never_answered_is_reported_at_once(monkeypatch):
    monkeypatch.setattr(postgresql, "PATIENCE", 1e9)
    engine = connect("postgresql://trueup:x@127.0.0.1:1/nothing")
    with pytest.raises(WorkError, match="cannot be opened"):
        initialise(engine, METADATA)


def test_another_kind_of_database_is_refused():
    with pytest.raises(UsageError, match="SQLite or PostgreSQL"):
        connect("mysql://somebody:x@localhost/trueup")
