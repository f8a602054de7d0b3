"""Homes of stories in a bucket, on PostgreSQL: with `pytest --homes shared` each story of a test has one of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from tests import buckets, postgres
from trueup.adapters.mlflow.database import _make_tables
from trueup.adapters.sql.engines import connect

KEY = "11" * 32
_CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'"


class SharedHomes:
    """Makes homes in one S3 server and one PostgreSQL, and copies them."""

    def __init__(self, server: buckets.Server, postgresql: sa.URL) -> None:
        self._server, self._postgresql, self._numbers = server, postgresql, count()
        self._made = self._database()  # MLflow's empty tables; to make them takes seconds
        engine = connect(self._url(self._made))
        _make_tables(engine)
        engine.dispose()

    def new(self, folder: Path) -> dict[str, object]:
        """The settings of a new home; `folder` is for this machine's copies of its files."""
        return self._places(folder, self._database(), self._database(self._made))

    def copied(self, places: dict[str, object], folder: Path) -> dict[str, object]:
        """The settings of a copy of a home. Models stay in the first one, where they are only read."""
        databases = [self._database(sa.make_url(str(places[name])).database) for name in ("database_url", "mlflow_uri")]
        copy = self._places(folder, *databases)
        buckets.copy(str(places["home"]), str(copy["home"]), without="mlartifacts/")
        return copy

    def _places(self, folder: Path, database: str, models: str) -> dict[str, object]:
        return {
            "home": self._server.bucket() + "/home",
            "database_url": self._url(database),
            "mlflow_uri": self._url(models),
            "ledger_key": KEY,
            "cache": folder / "cache",
        }

    def _database(self, like: str | None = None) -> str:
        name = f"story_{next(self._numbers)}"
        if like is not None:
            postgres.execute(self._postgresql, _CUT.format(like))
        postgres.execute(self._postgresql, f"CREATE DATABASE {name}" + (f" TEMPLATE {like}" if like else ""))
        return name

    def _url(self, name: str) -> str:
        return self._postgresql.set(database=name).render_as_string(hide_password=False)


@contextmanager
def running(postgresql: sa.URL) -> Iterator[SharedHomes]:
    """Run the S3 server, and let the programs of this process find it."""
    with buckets.running() as server:
        yield SharedHomes(server, postgresql)
