"""A server reads the ledger's facts without its libraries, on both databases, and notices what others write."""

import shutil

import pytest
import sqlalchemy as sa

from trueup.adapters.sql.engines import connect, initialise
from trueup.adapters.store.tables import BATCHES, metadata
from trueup.errors import LedgerError
from trueup.ledger.tables import CHAMPIONS, DECISIONS, METADATA
from trueup.serving.loading.ledger_reader import Facts, open_reader


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


def test_the_facts_follow_what_another_process_writes(database, engine):
    reader = open_reader(database)
    assert reader.changed()
    assert reader.facts("toy") == Facts(None, 0, 0)
    decide(engine, 1, "toy", epoch=1)
    decide(engine, 2, "toy")
    decide(engine, 3, "other", epoch=1)
    land(engine, 4, "toy/rows")
    land(engine, 5, "toy/labels")
    land(engine, 6, "other/labels")
    assert reader.changed()
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
    assert (reader.changed(), reader.changed()) == (True, False)
    assert reader.facts("toy").epoch == 2
    engine.dispose()
    for left in tmp_path.glob("trueup.db*"):
        left.unlink()
    with pytest.raises(LedgerError, match="what was published is served on"):
        reader.changed()
    shutil.move(backup, file)
    assert reader.changed()
    assert reader.facts("toy").epoch == 1
    reader.close()


def test_a_database_that_does_not_answer_is_named_without_its_password():
    reader = open_reader("postgresql+psycopg://me:secret@127.0.0.1:9/home")
    with pytest.raises(LedgerError) as said:
        reader.facts("toy")
    assert "127.0.0.1:9/home does not answer" in str(said.value)
    assert "secret" not in str(said.value)
