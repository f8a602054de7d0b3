"""Reads the few facts of the ledger that a server needs, by plain SQL and without the ledger's libraries.

PostgreSQL notifies the server of a model's news (`trueup.ledger.news`). In between it is asked every few seconds, in case
a notification was lost or none can come, as from a replica. In an SQLite file every look shows whether anything was written.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from trueup.errors import LedgerError
from trueup.ledger.news import CHANNEL
from trueup.serving.database import postgres_address, sqlite_file

_FACTS: Final = (
    "SELECT (SELECT max(epoch) FROM champions WHERE model = {0}), (SELECT max(seq) FROM decisions WHERE model = {0}), "
    "(SELECT max(sequence) FROM batches WHERE dataset = {0} || '/labels')"
)
_LISTENING, _ASKING = 5.0, 1.0  # seconds between two questions to PostgreSQL, with notifications and without
_PATIENCE = 5  # seconds for PostgreSQL to answer
_SECRET: Final = re.compile(r"(?<=://)[^@/]*@")


@dataclass(frozen=True)
class Facts:
    """What decides whether a published state is the newest one."""

    epoch: int | None  # of the champion; None before the first promotion
    seq: int  # of the model's newest entry, 0 without one
    landed: int  # the newest landing of labels, 0 without one


class LedgerReader(Protocol):
    """A ledger that is only read. The methods raise LedgerError when it does not answer."""

    pause: float  # seconds between two looks

    def changed(self, models: Collection[str]) -> Collection[str]:
        """Those of the models about which anything may have been written since the last call; all at the first."""

    def facts(self, model: str) -> Facts:
        """The facts about a model."""

    def close(self) -> None:
        """Let the connection go; the next call opens another."""


def open_reader(database: str) -> LedgerReader:
    """A reader of the database with a SQLAlchemy URL. Nothing is opened before the first call."""
    file = sqlite_file(database)
    return PostgresReader(postgres_address(database)) if file is None else SqliteReader(file)


class SqliteReader:
    """The ledger in an SQLite file, which other processes write."""

    pause = 0.2

    def __init__(self, file: Path) -> None:
        self._file = file
        self._connection: sqlite3.Connection | None = None
        self._seen: tuple[int, int] | None = None  # the file, and the version of its data

    def changed(self, models: Collection[str]) -> Collection[str]:
        """All models if another connection has written, else none. Raises LedgerError."""
        try:
            place = self._file.stat().st_ino
            if self._seen is not None and self._seen[0] != place:  # another file, from a backup
                self.close()
            seen = (place, int(self._one("PRAGMA data_version")[0]))
        except (sqlite3.Error, OSError) as error:
            raise self._gone(error) from None
        before, self._seen = self._seen, seen
        return models if seen != before else ()

    def facts(self, model: str) -> Facts:
        """The facts about a model. Raises LedgerError."""
        try:
            return _facts(self._one(_FACTS.format("?1"), model))
        except sqlite3.Error as error:
            raise self._gone(error) from None

    def close(self) -> None:
        """Close the file."""
        self._seen = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _one(self, query: str, *values: str) -> Any:
        if self._connection is None:
            address = f"file:{quote(str(self._file))}?mode=ro"
            self._connection = sqlite3.connect(address, uri=True, timeout=2.0, check_same_thread=False)
        return self._connection.execute(query, values).fetchone()

    def _gone(self, error: Exception) -> LedgerError:
        self.close()
        return LedgerError(f"{self._file} cannot be read: {error}; what was published is served on")


class PostgresReader:
    """The ledger in PostgreSQL."""

    pause = 0.05

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Any = None
        self._every, self._next = _ASKING, 0.0

    def changed(self, models: Collection[str]) -> Collection[str]:
        """The models of which PostgreSQL has notified this server; all when it was not asked for a while.

        Raises LedgerError.
        """
        import psycopg

        try:
            connection = self._connected()
            heard = {notice.payload for notice in connection.notifies(timeout=0)}
        except (psycopg.Error, OSError) as error:
            raise self._gone(error) from None
        if (now := time.monotonic()) < self._next:
            return [model for model in models if model in heard]
        self._next = now + self._every
        return models

    def facts(self, model: str) -> Facts:
        """The facts about a model. Raises LedgerError."""
        import psycopg

        try:
            return _facts(self._connected().execute(_FACTS.format("%(model)s"), {"model": model}).fetchone())
        except (psycopg.Error, OSError) as error:
            raise self._gone(error) from None

    def close(self) -> None:
        """Close the connection."""
        self._next = 0.0  # notifications are lost meanwhile
        if self._connection is not None:
            with suppress(Exception):  # it may be broken
                self._connection.close()
            self._connection = None

    def _connected(self) -> Any:
        if self._connection is None:
            import psycopg

            # A network that is cut has to be noticed: what is published is loaded in the same thread.
            self._connection = psycopg.connect(
                self._address, autocommit=True, connect_timeout=_PATIENCE, tcp_user_timeout=_PATIENCE * 1000
            )
            self._every = _LISTENING if _listens(self._connection) else _ASKING
        return self._connection

    def _gone(self, error: Exception) -> LedgerError:
        self.close()
        shown = _SECRET.sub("", self._address)
        first = str(error).strip().splitlines()[:1] or [type(error).__name__]
        return LedgerError(f"{shown} does not answer: {first[0]}; what was published is served on")


def _listens(connection: Any) -> bool:
    """Let PostgreSQL notify a connection; False on a replica, which cannot."""
    replica = connection.execute("SELECT pg_is_in_recovery()").fetchone()[0]
    if not replica:
        connection.execute(f"LISTEN {CHANNEL}")
    return not replica


def _facts(row: Any) -> Facts:
    epoch, seq, landed = row
    return Facts(None if epoch is None else int(epoch), int(seq or 0), int(landed or 0))
