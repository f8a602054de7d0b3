"""A lock by name that only one process (or thread) holds, and that a dead process frees at once.

Beside SQLite it is a lock of the operating system on a file, on PostgreSQL a lock of the session: both end with their
holder, so nobody ever has to find out whether an owner is still alive.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from filelock import FileLock, Timeout

_POLL_SECONDS = 0.05


@contextmanager
def alone(engine: sa.Engine, name: str, wait: float = 0) -> Iterator[bool]:
    """Try to hold the lock `name` for the block, for at most `wait` seconds; say whether it is held."""
    if engine.dialect.name == "postgresql":
        with _session_lock(engine, name, wait) as held:
            yield held
        return
    if not (file := engine.url.database) or file == ":memory:":
        yield True  # a database that nobody else can open
        return
    lock = FileLock(f"{file}.{name}.lock", timeout=wait, poll_interval=_POLL_SECONDS)
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
def _session_lock(engine: sa.Engine, name: str, wait: float) -> Iterator[bool]:
    key = int.from_bytes(hashlib.sha256(f"trueup:{name}".encode()).digest()[:8], "big", signed=True)
    # Each statement commits by itself: a training may take hours, and no transaction may stay open as long.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        deadline = time.monotonic() + wait
        while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
            if time.monotonic() >= deadline:
                yield False
                return
            time.sleep(_POLL_SECONDS)
        try:
            yield True
        finally:
            with suppress(sa.exc.DBAPIError):  # with its session a lock is gone already
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
