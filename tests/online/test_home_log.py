"""The log in the home's database is the same on PostgreSQL, which several machines share."""

import asyncio
from contextlib import closing

import pytest
import sqlalchemy as sa

from tests.serving.logs import payloads, serve
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.sql.engines import connect
from trueup.adapters.store import Store
from trueup.errors import LogFull
from trueup.serving.log_format import decoded
from trueup.serving.prediction_log import PredictionLog


@pytest.fixture
def store(tmp_path, postgres_url):
    engine = connect(postgres_url)
    yield Store(LocalFiles(tmp_path / "home"), engine)
    engine.dispose()


def test_servers_write_to_postgresql_before_they_answer(store, tmp_path, postgres_url):
    async def ask(log, *ids):
        return await asyncio.gather(*(log.append(payloads(one)) for one in ids), return_exceptions=True)

    with closing(PredictionLog(tmp_path, serve(durability="home"), "h", model="toy", database=postgres_url)) as log:
        assert asyncio.run(ask(log, "a", "b", "c")) == [None] * 3
        with store.engine.begin() as connection:  # the server's connection is cut off
            ours = "pid <> pg_backend_pid() AND usename = current_user AND backend_type = 'client backend'"
            connection.execute(sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {ours}"))
        [refused] = asyncio.run(ask(log, "lost"))
        assert isinstance(refused, LogFull)
        assert asyncio.run(ask(log, "d")) == [None]
    rows = store.logged("toy", 10)
    assert [decoded(payload).id for _, payload in rows] == ["a", "b", "c", "d"]
    store.drop_logged([number for number, _ in rows[:3]])
    assert len(store.logged("toy", 10)) == 1
    assert store.logged("other", 10) == []
