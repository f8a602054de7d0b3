"""A named lock that one process (or thread) holds, and that is free at once when the process dies.

For SQLite it is a file lock of the operating system, for PostgreSQL a lock of the session. Both end with their holder,
so there is no need to check whether an owner is alive. A holder can lose a session lock without noticing; `fencing`
keeps it from committing after that.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from weakref import WeakSet

import sqlalchemy as sa
from filelock import FileLock, Timeout

from trueup.adapters.sql.closing import require_open
from trueup.adapters.sql.engines import READS, answering, initialise, looks, writing
from trueup.adapters.sql.fencing import METADATA, fenced, next_token

_POLL_SECONDS = 0.05
_TIMED_OUT = "55P03"  # PostgreSQL's lock_not_available
_WITH_TABLE: WeakSet[sa.Engine] = WeakSet()  # engines of databases that have the table of tokens


@contextmanager
def alone(engine: sa.Engine, name: str, wait: float = 0) -> Iterator[bool]:
    """Try for at most `wait` seconds to hold the lock `name` for the block; yields whether it is held.

    Transactions of the block raise LockLost when another process has taken the lock meanwhile. Raises WorkError if the
    database does not answer, UsageError if the home was moved.
    """
    if engine.dialect.name == "postgresql":
        locked = session_lock(engine, name, wait)
    elif not (file := engine.url.database) or file == ":memory:":
        yield True  # no other process can open this database
        return
    else:
        locked = _file_lock(f"{file}.{name}.lock", wait)
    with locked as held:
        if not held or looks(engine):
            yield held
            return
        if engine not in _WITH_TABLE:
            initialise(engine, METADATA)
            _WITH_TABLE.add(engine)
        require_open(engine)
        with writing(engine) as connection:
            token = next_token(connection, name)
        with fenced(engine.url, name, token):
            yield True


@contextmanager
def _file_lock(file: str, wait: float) -> Iterator[bool]:
    lock = FileLock(file, timeout=wait, poll_interval=_POLL_SECONDS)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


@contextmanager
def session_lock(engine: sa.Engine, name: str, wait: float) -> Iterator[bool]:
    """Hold a lock of PostgreSQL without a token, in a database that need not be Trueup's own; see `alone`."""
    key = int.from_bytes(hashlib.sha256(f"trueup:{name}".encode()).digest()[:8], "big", signed=True)
    with answering(engine):
        session = _locked_session(engine, key, wait)
    if session is None:
        yield False
        return
    try:
        yield True
    finally:
        with suppress(sa.exc.DBAPIError):  # the lock ended with its session
            session.execute(sa.select(sa.func.pg_advisory_unlock(key)))
        session.close()


def _locked_session(engine: sa.Engine, key: int, wait: float) -> sa.Connection | None:
    """A connection with the session lock, None if others hold it for longer than `wait` seconds.

    The server wakes the one that waits. A connection that is cut while it waits is opened again.
    """
    deadline = time.monotonic() + wait
    while True:
        # Autocommit, because a training may take hours and no transaction may stay open that long.
        session = engine.connect().execution_options(isolation_level="AUTOCOMMIT", **{READS: True})
        try:
            if _locks(session, key, deadline - time.monotonic()):
                return session
            session.close()
            return None
        except sa.exc.DBAPIError as error:
            session.close()
            if not error.connection_invalidated:
                raise
        except BaseException:
            session.invalidate()  # it may have got the lock
            session.close()
            raise


def _locks(session: sa.Connection, key: int, seconds: float) -> bool:
    if session.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
        return True
    if seconds <= 0:
        return False
    session.execute(sa.select(sa.func.set_config("lock_timeout", f"{max(int(seconds * 1000), 1)}ms", False)))
    locked = True
    try:
        session.execute(sa.select(sa.func.pg_advisory_lock(key)))
    except sa.exc.OperationalError as error:
        if getattr(error.orig, "sqlstate", None) != _TIMED_OUT:
            raise
        locked = False
    session.execute(sa.text("SET lock_timeout = DEFAULT"))
    return locked
