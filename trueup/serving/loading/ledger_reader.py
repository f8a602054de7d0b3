"""Reads the few facts of the ledger that a server needs, by plain SQL and without the ledger's libraries."""

from __future__ import annotations

import re
import sqlite3
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from trueup.errors import LedgerError
from trueup.serving.database import postgres_address, sqlite_file

_FACTS: Final = (
    "SELECT (SELECT max(epoch) FROM champions WHERE model = {0}), (SELECT max(seq) FROM decisions WHERE model = {0}), "
    "(SELECT max(sequence) FROM batches WHERE dataset = {0} || '/labels')"
)
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

    def changed(self) -> bool:
        """Whether anything may have been written since the last call; true at the first."""

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

    def changed(self) -> bool:
        """Whether another connection has written. Raises LedgerError."""
        try:
            place = self._file.stat().st_ino
            if self._seen is not None and self._seen[0] != place:  # another file, from a backup
                self.close()
            seen = (place, int(self._one("PRAGMA data_version")[0]))
        except (sqlite3.Error, OSError) as error:
            raise self._gone(error) from None
        before, self._seen = self._seen, seen
        return seen != before

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

    pause = 1.0

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: Any = None

    def changed(self) -> bool:
        """Always true: PostgreSQL does not say whether anything was written, and asking is cheap."""
        return True

    def facts(self, model: str) -> Facts:
        """The facts about a model. Raises LedgerError."""
        import psycopg

        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._address, autocommit=True, connect_timeout=5)
            return _facts(self._connection.execute(_FACTS.format("%(model)s"), {"model": model}).fetchone())
        except (psycopg.Error, OSError) as error:
            self.close()
            shown = _SECRET.sub("", self._address)
            first = str(error).strip().splitlines()[:1] or [type(error).__name__]
            raise LedgerError(f"{shown} does not answer: {first[0]}; what was published is served on") from None

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(Exception):  # it may be broken
                self._connection.close()
            self._connection = None


def _facts(row: Any) -> Facts:
    epoch, seq, landed = row
    return Facts(None if epoch is None else int(epoch), int(seq or 0), int(landed or 0))
