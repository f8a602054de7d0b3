"""Sinks: writing predictions again changes nothing, in a folder and in a table of SQLite or PostgreSQL."""

import multiprocessing
from datetime import datetime
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa

from trueup.adapters.sinks.folder import FolderSink
from trueup.adapters.sinks.sql import SqlSink
from trueup.adapters.sql.engines import UserDatabase
from trueup.domain.types import Window
from trueup.errors import WorkError

JANUARY = Window(datetime(2013, 1, 1), datetime(2013, 2, 1))
FEBRUARY = Window(datetime(2013, 2, 1), datetime(2013, 3, 1))

PROCESSES = multiprocessing.get_context("forkserver")


def predicted(ids, p=0.5) -> pd.DataFrame:
    n = len(ids)
    return pd.DataFrame(
        {
            "row_id": np.array(ids, dtype=np.int64) * 10**15,
            "carrier": pd.Categorical(["AA", None] * (n // 2) + ["AA"] * (n % 2)),
            "event_time": np.datetime64("2013-01-05 10:00", "us"),
            "prediction": p,
            "model_version": 3,
            "late": [True, False] * (n // 2) + [True] * (n % 2),
        }
    )


def opened(sink, root):
    return SimpleNamespace(write=partial(sink.write, root=root))


def write_at_once(url, root, barrier, p):
    sink = opened(SqlSink(url=url, table="late"), root)
    barrier.wait(timeout=60)
    sink.write(JANUARY, predicted(range(1_500), p))


class TestFolder:
    @pytest.fixture
    def sink(self, tmp_path):
        return opened(FolderSink(path="out/late"), tmp_path)

    def test_a_batch_is_a_file_that_is_replaced_whole(self, sink, tmp_path):
        sink.write(JANUARY, predicted([1, 2, 3]))
        sink.write(FEBRUARY, predicted([4]))
        sink.write(JANUARY, predicted([1, 2], 0.7))
        folder = tmp_path / "out" / "late"
        assert sorted(f.name for f in folder.iterdir()) == [
            "2013-01-01_2013-02-01.parquet",
            "2013-02-01_2013-03-01.parquet",
        ]
        found = pd.read_parquet(folder / "2013-01-01_2013-02-01.parquet")
        assert found.prediction.tolist() == [0.7, 0.7]
        assert found.columns.tolist() == predicted([1]).columns.tolist()

    def test_a_key_is_written_once(self, sink, tmp_path):
        sink.write(JANUARY, pd.concat([predicted([1], 0.1), predicted([1, 2], 0.2)]))
        assert pd.read_parquet(tmp_path / "out" / "late").prediction.tolist() == [0.1, 0.2]

    def test_a_place_that_cannot_be_written_is_said(self, sink, tmp_path):
        (tmp_path / "out").write_text("a file where a folder should be")
        with pytest.raises(WorkError, match=r"cannot be written: .*; make room or allow writing there, then run again"):
            sink.write(JANUARY, predicted([1]))


class TestTable:
    @pytest.fixture
    def url(self, database_url, tmp_path):
        (tmp_path / "home").mkdir(exist_ok=True)
        return database_url

    @pytest.fixture
    def database(self, url, tmp_path):
        return UserDatabase(url, tmp_path, WorkError).engine

    @pytest.fixture
    def sink(self, url, tmp_path):
        return opened(SqlSink(url=url, table="late"), tmp_path)

    def found(self, database, columns="row_id, prediction"):
        with database.connect() as connection:
            return connection.execute(sa.text(f"SELECT {columns} FROM late ORDER BY row_id")).all()

    def test_the_table_is_made_and_holds_what_was_predicted(self, sink, database):
        sink.write(JANUARY, predicted([1, 2]))
        assert self.found(database) == [(10**15, 0.5), (2 * 10**15, 0.5)]
        assert self.found(database, "carrier, model_version") == [("AA", 3), (None, 3)]
        types = {c["name"]: c["type"] for c in sa.inspect(database).get_columns("late")}
        assert isinstance(types["event_time"], sa.DateTime)
        assert isinstance(types["row_id"], sa.BigInteger)
        assert sa.inspect(database).get_pk_constraint("late")["constrained_columns"] == ["row_id"]

    def test_writing_again_changes_nothing_and_other_rows_stay(self, sink, database):
        sink.write(JANUARY, predicted([1, 2, 3]))
        before = self.found(database, "*")
        sink.write(JANUARY, predicted([1, 2, 3]))
        assert self.found(database, "*") == before
        sink.write(FEBRUARY, predicted([3, 4], 0.9))
        assert [p for _, p in self.found(database)] == [0.5, 0.5, 0.9, 0.9]
        sink.write(FEBRUARY, predicted([]))
        assert len(self.found(database)) == 4

    def test_many_rows(self, sink, database):
        for p in (0.1, 0.2):
            sink.write(JANUARY, predicted(range(5_000), p))
        with database.connect() as connection:
            assert connection.execute(sa.text("SELECT count(*), min(prediction) FROM late")).one() == (5_000, 0.2)

    def test_missing_values_are_null(self, sink, database):
        frame = predicted([1, 2]).assign(prediction=[np.nan, 0.2], event_time=[pd.NaT, pd.Timestamp("2013-01-05")])
        sink.write(JANUARY, frame)
        assert self.found(database, "prediction") == [(None,), (0.2,)]

    def test_a_table_of_the_users_own_may_have_more_columns(self, sink, database):
        columns = "row_id BIGINT, prediction FLOAT, event_time TIMESTAMP, carrier TEXT, model_version INT, late BOOLEAN"
        with database.begin() as connection:
            connection.execute(sa.text(f"CREATE TABLE late ({columns}, note TEXT)"))
        for p in (0.25, 0.75):
            sink.write(JANUARY, predicted([1], p))
        assert self.found(database, "prediction, note") == [(0.75, None)]

    def test_a_table_that_lacks_a_column_is_said_and_left_alone(self, sink, database):
        with database.begin() as connection:
            connection.execute(sa.text("CREATE TABLE late (row_id BIGINT, prediction FLOAT)"))
            connection.execute(sa.text("INSERT INTO late VALUES (1000000000000000, 0.1)"))
        with pytest.raises(
            WorkError, match=r"table late: it has no column carrier, event_time, .*; add what is missing"
        ):
            sink.write(JANUARY, predicted([1]))
        assert self.found(database) == [(10**15, 0.1)]

    def test_a_failure_leaves_the_old_rows(self, sink, database):
        sink.write(JANUARY, predicted([1, 2]))
        with pytest.raises(WorkError, match=r"SQL sink .* cannot be written: .*then score again"):
            sink.write(JANUARY, predicted([1, 2]).assign(row_id=[10**15, None], prediction=0.9))
        assert self.found(database) == [(10**15, 0.5), (2 * 10**15, 0.5)]

    def test_two_writers_at_once_leave_one_row_a_key(self, url, database, tmp_path):
        barrier = PROCESSES.Barrier(2)
        writers = [PROCESSES.Process(target=write_at_once, args=(url, tmp_path, barrier, p)) for p in (0.1, 0.2)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(timeout=120)
        assert [w.exitcode for w in writers] == [0, 0]
        assert [i for i, _ in self.found(database)] == [i * 10**15 for i in range(1_500)]
        assert len({p for _, p in self.found(database)}) == 1, "the rows of one writer, whole"

    def test_no_secret_is_in_a_message(self, postgres_server, tmp_path, monkeypatch):
        monkeypatch.setenv("SINK_PASSWORD", "hush/hush")
        url = f"postgresql://trueup:${{SINK_PASSWORD}}@127.0.0.1:{postgres_server.port}/postgres"
        with pytest.raises(
            WorkError, match=r"postgresql://trueup:\*\*\*@127.0.0.1.*password authentication failed"
        ) as raised:
            opened(SqlSink(url=url, table="late"), tmp_path).write(JANUARY, predicted([1]))
        assert "hush" not in str(raised.value)
        assert raised.value.__cause__ is None
