"""Connections to Trueup's own database, and to databases of the user.

Both work on SQLite and PostgreSQL through SQLAlchemy Core; a user's database may be any that SQLAlchemy supports.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy.schema import CreateTable

from trueup.adapters.sql.closing import require_open
from trueup.adapters.sql.fencing import require_held
from trueup.adapters.sql.postgresql import make_engine, require_own_session
from trueup.errors import DatabaseUnavailable, WorkError
from trueup.secrecy import PERHAPS, masked

_WAIT = 60.0  # seconds a connection waits for another's lock
_INITIALISE = 7_286_410  # PostgreSQL's advisory lock for creating tables
READS, _LOOKS = "trueup_reads", "trueup_looks"
_VARIABLE = re.compile(r"\$\{(\w+)\}")


def connect(url: str | sa.URL) -> sa.Engine:
    """Make an engine for Trueup's own database, without opening it.

    On SQLite every transaction takes the write lock when it begins (a transaction that reads first and then writes
    could fail at once, whatever the timeout), waits up to a minute for it, and is durable when it returns. `reading`
    opts out. A missing folder is created. On PostgreSQL, as on SQLite, times are UTC.
    """
    parsed = _with_driver(sa.make_url(url))
    if parsed.get_backend_name() != "sqlite":
        engine = make_engine(parsed)
        sa.event.listen(engine, "begin", _check_locks)
        return engine
    if (file := database_file(parsed)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed, connect_args={"timeout": _WAIT})
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    sa.event.listen(engine, "begin", _check_locks)  # as the only writer, so after the one above
    return engine


def connect_to_look(url: str | sa.URL) -> sa.Engine:
    """Make a read-only engine: nothing is created, locked or changed, and a missing SQLite database is empty.

    `initialise` creates missing tables for the connection only. Connecting raises sqlite3.OperationalError if an SQLite
    file cannot be read.
    """
    parsed = _with_driver(sa.make_url(url))
    options = {READS: True, _LOOKS: True}
    if parsed.get_backend_name() != "sqlite":
        return make_engine(parsed, execution_options=options)
    file = database_file(parsed)
    if file is None or not file.exists():
        engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool, execution_options=options)
    else:
        engine = sa.create_engine(parsed, creator=lambda: _opened_to_look(file), execution_options=options)
    sa.event.listen(engine, "connect", _set_up_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def opened(url: str) -> Iterator[sa.Engine]:
    """An engine of `connect` for the block."""
    engine = connect(url)
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def opened_to_look(url: str) -> Iterator[sa.Engine]:
    """An engine of `connect_to_look` for the block."""
    engine = connect_to_look(url)
    try:
        yield engine
    finally:
        engine.dispose()


def has_table(engine: sa.Engine, table: sa.Table) -> bool:
    """Whether a database has a table."""
    return sa.inspect(engine).has_table(table.name)


def looks(engine: sa.Engine) -> bool:
    """Whether an engine is read-only."""
    return bool(engine.get_execution_options().get(_LOOKS, False))


def _opened_to_look(file: Path) -> sqlite3.Connection:
    """Open an SQLite file for reading, even if neither it nor its folder is writable.

    A database in WAL mode needs files beside it even for reading. If they cannot be created and contain no changes, the
    file alone is read. Raises sqlite3.OperationalError.
    """
    address, waiting = f"file:{quote(str(file))}?mode=ro", file.with_name(f"{file.name}-wal")
    connection = sqlite3.connect(address, uri=True, timeout=_WAIT)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        if waiting.exists() and waiting.stat().st_size:
            raise
        connection = sqlite3.connect(f"{address}&immutable=1", uri=True)
    return connection


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # turns off the driver's late BEGIN, see `_begin_sqlite`
    connection.execute("PRAGMA foreign_keys = ON")


def _begin_sqlite(connection: sa.Connection) -> None:
    statement = "BEGIN" if connection.get_execution_options().get(READS, False) else "BEGIN IMMEDIATE"
    driver: Any = connection.connection.driver_connection
    try:
        driver.execute(statement)  # SQLAlchemy's way takes several times as long
    except sqlite3.OperationalError as error:
        raise sa.exc.OperationalError(statement, None, error) from error


def _check_locks(connection: sa.Connection) -> None:
    if not connection.get_execution_options().get(READS, False):
        require_held(connection)


@contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a read-only transaction, which waits for no writer. Raises WorkError."""
    with answering(engine), engine.connect().execution_options(**{READS: True}) as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: sa.Engine, table: sa.Table | None = None) -> Iterator[sa.Connection]:
    """Open a transaction, as the only writer to a table if one is named; readers are not blocked.

    Raises LockLost within the block of a lock that another process has taken meanwhile, else WorkError.
    """
    with answering(engine), engine.begin() as connection:
        if table is not None and engine.dialect.name == "postgresql":
            quoted = engine.dialect.identifier_preparer.format_table(table)
            connection.exec_driver_sql(f"LOCK TABLE {quoted} IN SHARE ROW EXCLUSIVE MODE")
        yield connection


def clock_of(engine: sa.Engine) -> datetime:
    """The clock of a PostgreSQL server, in UTC. Raises WorkError."""
    with reading(engine) as connection:
        moment: datetime = connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return moment.astimezone(UTC)


@contextmanager
def answering(engine: sa.Engine) -> Iterator[None]:
    """Explain errors of a database that is full, locked or gone. Integrity errors are left to the caller."""
    try:
        yield
    except sa.exc.OperationalError as error:
        shown = engine.url.render_as_string(hide_password=True)
        problem = DatabaseUnavailable if engine.dialect.name == "postgresql" else WorkError
        raise problem(
            f"the database {shown} cannot be used: {first_line(error)}; check that it runs, has room on its disk and is "
            "not locked by another process, and run again: what was not recorded did not happen"
        ) from error


def initialise(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create the missing tables. Raises UsageError for the database of a home that was moved, WorkError as `create`."""
    create(engine, metadata)
    if not looks(engine):
        try:
            require_open(engine)
        except sa.exc.SQLAlchemyError as error:
            raise _unopened(engine, error) from None


def create(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Create the missing tables, one process at a time, also in the database of a home that was moved.

    SQLite is guarded by a lock file beside the database and put into WAL mode, PostgreSQL by an advisory lock. Raises
    WorkError if the database cannot be opened.
    """
    try:
        if looks(engine):
            _stand_in(engine, metadata)
        elif engine.dialect.name == "postgresql":
            require_own_session(engine)
            with engine.begin() as connection:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_INITIALISE)))
                metadata.create_all(connection)
        elif (file := database_file(engine.url)) is not None:
            with FileLock(f"{file}.lock", timeout=2 * _WAIT):
                _write_ahead(engine)
                metadata.create_all(engine)
        else:
            metadata.create_all(engine)
    except (sa.exc.SQLAlchemyError, sqlite3.Error, OSError, Timeout) as error:
        raise _unopened(engine, error) from None


def _unopened(engine: sa.Engine, error: Exception) -> WorkError:
    shown = engine.url.render_as_string(hide_password=True)
    return WorkError(
        f"the database {shown} cannot be opened: {first_line(error)}; check its address, that it runs, and that "
        "its folder can be written"
    )


def _stand_in(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Add empty temporary tables to each connection for those that the database lacks."""
    there = set(sa.inspect(engine).get_table_names())
    lacking, own = [t for t in metadata.sorted_tables if t.name not in there], sa.MetaData()
    for table in lacking:
        sa.Table(table.name, own, *(sa.Column(c.name, c.type) for c in table.c), prefixes=["TEMPORARY"])
    made = [str(CreateTable(table).compile(engine)) for table in own.tables.values()]
    if not made:
        return
    engine.dispose()  # open connections would lack them

    def make(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in made:
            cursor.execute(statement)
        cursor.close()

    sa.event.listen(engine, "connect", make)


def copy_sqlite(file: Path, target: Path) -> None:
    """Copy an SQLite database at one moment while others write; the copy keeps its journal mode."""
    with closing(sqlite3.connect(file, timeout=_WAIT)) as source, closing(sqlite3.connect(target)) as copy:
        source.backup(copy)  # one step; in WAL mode nobody is blocked


def _write_ahead(engine: sa.Engine) -> None:
    raw = engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode = WAL")  # outside of a transaction; stored in the file
    finally:
        raw.close()


def database_file(url: sa.URL) -> Path | None:
    """The file of an SQLite database; None for one in memory."""
    return Path(url.database) if url.database and url.database != ":memory:" else None


def _with_driver(url: sa.URL) -> sa.URL:
    return url.set(drivername="postgresql+psycopg") if url.drivername in {"postgresql", "postgres"} else url


class UserDatabase:
    """A database of the user, by a SQLAlchemy URL with `${NAME}` from the environment.

    Values before an `@` (user, password) are quoted for the URL. A relative SQLite path is relative to `root`.
    Connections are not kept open. `shown` names the database without secrets, and `reason(error)` describes an error
    without them. Raises `failure` if the URL cannot be used or, with `must_exist`, an SQLite file is missing.
    """

    def __init__(self, url: str, root: Path, failure: type[WorkError], must_exist: bool = False) -> None:
        self._secrets: dict[str, str] = {}
        self.shown = masked(url)
        try:
            parsed = _with_driver(sa.make_url(self._expand(url)))
            self._hide(parsed)
            file = database_file(parsed) if parsed.get_backend_name() == "sqlite" else None
            if file is not None and not str(file).startswith("file:"):
                parsed = parsed.set(database=str(root / file))
            timeout = {"timeout": _WAIT} if parsed.get_backend_name() == "sqlite" else {}
            self.engine = sa.create_engine(parsed, poolclass=sa.NullPool, connect_args=timeout)
        except KeyError as missing:
            name = missing.args[0]
            raise failure(f"{self.shown}: the environment variable {name} is not set; set it and run again") from None
        except (sa.exc.SQLAlchemyError, ImportError, ValueError) as error:
            raise failure(
                f"{self.shown}: not a database address that can be used: {self.reason(error)}; write it like "
                "postgresql://user:${PASSWORD}@host:5432/name or sqlite:///file.db, and install its driver"
            ) from None
        if must_exist and file is not None and not (root / file).is_file():
            absent = self._hidden(str(root / file))
            raise failure(f"{self.shown}: there is no file {absent}; correct the path (relative to {root})")

    def reason(self, error: BaseException) -> str:
        """Describe an error in one line, without SQL, parameters and secrets."""
        return self._hidden(first_line(error))

    def _hidden(self, text: str) -> str:
        for value in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(value, self._secrets[value])
        return text

    def may_pass(self, error: sa.exc.OperationalError) -> bool:
        """Whether a retry may help; SQLite reports a missing table as an operational error, too."""
        return self.engine.dialect.name != "sqlite" or "locked" in str(error.orig)

    def _expand(self, url: str) -> str:
        before, at, after = url.rpartition("@")
        return _VARIABLE.sub(lambda m: quote(self._value(m[1]), safe=""), before) + at + self._plain(after)

    def _plain(self, text: str) -> str:
        return _VARIABLE.sub(lambda m: self._value(m[1]), text)

    def _value(self, name: str) -> str:
        value = os.environ[name]
        self._secrets |= {v: f"${{{name}}}" for v in (value, quote(value, safe="")) if v}
        return value

    def _hide(self, url: sa.URL) -> None:
        values = [url.password, *(v for k, v in url.query.items() if re.search(PERHAPS, k, re.IGNORECASE))]
        self._secrets |= {str(v): "***" for v in values if v and str(v) not in self._secrets}


def first_line(error: BaseException) -> str:
    """A database's error in one line, without the statement and its parameters."""
    cause = getattr(error, "orig", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(cause).__name__
