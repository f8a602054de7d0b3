"""A server reads the ledger's facts without its libraries, on both databases, and notices what others write."""

import shutil
import time

import pytest
import sqlalchemy as sa

from tests import postgres
from tests.ledger.test_ledger import decision
from trueup.adapters.sql.engines import connect, initialise
from trueup.adapters.store.tables import BATCHES, metadata
from trueup.errors import LedgerError, StaleDecision
from trueup.ledger.ledger import Ledger
from trueup.ledger.tables import CHAMPIONS, DECISIONS, METADATA
from trueup.serving.loading import ledger_reader
from trueup.serving.loading.ledger_reader import Facts, open_reader

MODELS = ("toy", "other")


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    """The URL of a database with the tables of a home."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'a home%41' / 'trueup.db'}"


@pytest.fixture
def engine(database):
    made = connect(database)
    initialise(made, METADATA)
    initialise(made, metadata)
    yield made
    made.dispose()


def decide(engine, seq, model, epoch=None):
    texts = {c.name: "" for c in DECISIONS.c if isinstance(c.type, sa.Text)}
    row = texts | {"seq": seq, "model": model, "decision_id": str(seq), "kind": "promoted"}
    with engine.begin() as connection:
        connection.execute(sa.insert(DECISIONS).values(row))
        if epoch is not None:
            values = {"model": model, "epoch": epoch, "version": epoch, "manifest_digest": "", "seq": seq}
            connection.execute(sa.insert(CHAMPIONS).values(values))


def land(engine, sequence, dataset):
    from datetime import datetime

    row = {"sequence": sequence, "dataset": dataset, "start": datetime(2024, 1, sequence), "end": datetime(2024, 2, 1)}
    row |= {"revision": 1, "path": "", "sha256": "", "rows": 0, "facts": "{}"}
    with engine.begin() as connection:
        connection.execute(sa.insert(BATCHES).values(row))


def changed(reader, seconds=60):
    """The models that changed next."""
    deadline = time.monotonic() + seconds
    while not (found := reader.changed(MODELS)):
        assert time.monotonic() < deadline, "nothing changed in time"
        time.sleep(0.02)
    return [*found]


def test_the_facts_follow_what_another_process_writes(database, engine):
    reader = open_reader(database)
    assert reader.changed(MODELS) == MODELS
    assert reader.facts("toy") == Facts(None, 0, 0)
    decide(engine, 1, "toy", epoch=1)
    decide(engine, 2, "toy")
    decide(engine, 3, "other", epoch=1)
    land(engine, 4, "toy/rows")
    land(engine, 5, "toy/labels")
    land(engine, 6, "other/labels")
    assert changed(reader) == [*MODELS]
    assert reader.facts("toy") == Facts(1, 2, 5)
    reader.close()


def test_sqlite_says_when_nothing_was_written_and_a_restored_file_is_read(tmp_path):
    file = tmp_path / "trueup.db"
    engine = connect(f"sqlite:///{file}")
    initialise(engine, METADATA)
    initialise(engine, metadata)
    decide(engine, 1, "toy", epoch=1)
    engine.dispose()
    backup = shutil.copyfile(file, tmp_path / "backup.db")
    engine = connect(f"sqlite:///{file}")
    decide(engine, 2, "toy", epoch=2)
    reader = open_reader(f"sqlite:///{file}")
    assert (reader.changed(MODELS), reader.changed(MODELS)) == (MODELS, ())
    assert reader.facts("toy").epoch == 2
    engine.dispose()
    for left in tmp_path.glob("trueup.db*"):
        left.unlink()
    with pytest.raises(LedgerError, match="what was published is served on"):
        reader.changed(MODELS)
    shutil.move(backup, file)
    assert reader.changed(MODELS) == MODELS
    assert reader.facts("toy").epoch == 1
    reader.close()


def test_a_database_that_does_not_answer_is_named_without_its_password():
    reader = open_reader("postgresql+psycopg://me:secret@127.0.0.1:9/home")
    with pytest.raises(LedgerError) as said:
        reader.facts("toy")
    assert "127.0.0.1:9/home does not answer" in str(said.value)
    assert "secret" not in str(said.value)


class TestNotifications:
    @pytest.fixture
    def listener(self, postgres_url, monkeypatch):
        """A reader that hears of news only: the database was asked, and is not asked again."""
        engine = connect(postgres_url)
        for tables in (METADATA, metadata):
            initialise(engine, tables)
        monkeypatch.setattr(ledger_reader, "_LISTENING", 1e9)
        reader = open_reader(postgres_url)
        assert reader.changed(MODELS) == MODELS
        assert reader.changed(MODELS) == []
        yield reader, Ledger(engine)
        reader.close()
        engine.dispose()

    def test_a_decision_and_a_publication_reach_the_servers_of_their_model_only(self, listener):
        reader, ledger = listener
        ledger.append(decision(0, "toy", epoch=0))
        assert changed(reader) == ["toy"]
        assert reader.facts("toy") == Facts(1, 1, 0)
        ledger.notify("other")
        ledger.notify("unknown")
        assert changed(reader) == ["other"]

    def test_a_decision_that_was_not_recorded_notifies_nobody(self, listener):
        reader, ledger = listener
        with pytest.raises(StaleDecision):
            ledger.append(decision(0, "toy", epoch=7))
        ledger.append(decision(1, "other"))
        assert changed(reader) == ["other"]

    def test_a_connection_that_was_cut_is_opened_again_and_all_models_are_looked_at(self, listener, postgres_server):
        reader, _ = listener
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
        postgres.execute(postgres_server, cut)
        with pytest.raises(LedgerError, match="what was published is served on"):
            changed(reader)
        assert reader.changed(MODELS) == MODELS

    def test_without_a_notification_the_database_is_asked(self, listener, monkeypatch):
        monkeypatch.setattr(ledger_reader, "_LISTENING", 0.2)
        reader, _ = listener
        reader.close()
        assert reader.changed(MODELS) == MODELS
        assert changed(reader) == [*MODELS]

    @pytest.mark.thorough
    def test_a_replica_which_cannot_notify_is_asked(self):
        with postgres.cluster() as server:
            url = server.url.render_as_string(hide_password=False)
            engine = connect(url)
            for tables in (METADATA, metadata):
                initialise(engine, tables)
            engine.dispose()
            server.stop()
            server.make_replica()
            server.start()
            reader = open_reader(url)
            assert reader.changed(MODELS) == MODELS
            assert reader.facts("toy") == Facts(None, 0, 0)
            assert changed(reader) == [*MODELS]
            reader.close()
