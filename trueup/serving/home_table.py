"""The prediction log in the home's database, for machines that lose their disk (`durability: home`)."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

from trueup.errors import LogFull
from trueup.serving.database import postgres_address, sqlite_file

TABLE: Final = "served_log"  # created with the store's tables
_WAIT: Final = 5.0  # seconds for another writer; a request waits as long
_LOOK: Final = 1.0  # seconds between two looks at what waits
_PAUSE: Final = 5.0  # seconds between two tries to connect: a request in between is refused without waiting


class HomeTable:
    """Inserts records, one transaction a group. For one thread; `waiting` may be read by others.

    `url` is a SQLAlchemy URL of SQLite or PostgreSQL. `limit` bounds the bytes of a model's records that wait.
    """

    def __init__(self, url: str, model: str, limit: int) -> None:
        self._url, self._model, self._limit = url, model, limit
        self._connection: Any = None
        self._looked = -_LOOK
        self._failure, self._again = "", -_PAUSE
        self.waiting = 0

    def anew(self) -> HomeTable:
        """The same table, for another process."""
        return HomeTable(self._url, self._model, self._limit)

    def close(self) -> None:
        """Let go of the connection; a later record opens another."""
        self._hang_up()

    def write(self, payloads: Sequence[bytes]) -> None:
        """Insert records, all or none; they are durable when it returns. Raises LogFull."""
        try:
            self._insert(payloads)
        except LogFull:
            raise
        except Exception as error:  # of either driver, also a lost connection
            self._hang_up()
            reason = " ".join(str(error).split()) or type(error).__name__
            raise LogFull(
                f"the home's database does not take the predictions of {self._model}: {reason}; check that it runs and "
                "has room, or use another `serve.durability`"
            ) from error

    def _insert(self, payloads: Sequence[bytes]) -> None:
        connection = self._connected()
        self._require_room(connection, sum(map(len, payloads)))
        mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
        cursor = connection.cursor()
        cursor.executemany(
            f"INSERT INTO {TABLE} (model, payload) VALUES ({mark}, {mark})", [(self._model, p) for p in payloads]
        )
        connection.commit()

    def _require_room(self, connection: Any, more: int) -> None:
        now = time.monotonic()
        if now - self._looked >= _LOOK or self.waiting + more > self._limit:
            mark = "?" if isinstance(connection, sqlite3.Connection) else "%s"
            cursor = connection.cursor()
            cursor.execute(
                f"SELECT COALESCE(SUM(LENGTH(payload)), 0) FROM {TABLE} WHERE model = {mark}", (self._model,)
            )
            self.waiting, self._looked = int(cursor.fetchall()[0][0]), now
        if self.waiting + more > self._limit:
            connection.rollback()
            raise LogFull(
                f"{self.waiting / 2**20:.1f} MiB of predictions of {self._model} wait in the home's database, and "
                f"`serve.log_mib` allows {self._limit / 2**20:g}; run the loop, which stores them, or raise the limit"
            )
        self.waiting += more

    def _connected(self) -> Any:
        if self._connection is None:
            if time.monotonic() < self._again:
                raise ConnectionError(self._failure)
            try:
                self._connection = open_database(self._url)
            except Exception as error:
                self._failure, self._again = " ".join(str(error).split()), time.monotonic() + _PAUSE
                raise
        return self._connection

    def _hang_up(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                connection.close()


def open_database(url: str) -> Any:
    """A connection of the driver for a SQLAlchemy URL, whose commits are durable. Raises the driver's errors."""
    if (file := sqlite_file(url)) is not None:
        address = f"file:{quote(str(file))}?mode=rw"
        connection = sqlite3.connect(address, uri=True, timeout=_WAIT, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
        return connection
    import psycopg

    return psycopg.connect(postgres_address(url), connect_timeout=int(_WAIT))
