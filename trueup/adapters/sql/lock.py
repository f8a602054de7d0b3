"""A named lock that one process (or thread) holds, and that is free at once when the process dies.

For SQLite it is a file lock of the operating system, for PostgreSQL a lock of the session. Both end with their holder,
so there is no need to check whether an owner is alive.
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
    """Try for at most `wait` seconds to hold the lock `name` for the block; yields whether it is held."""
    if engine.dialect.name == "postgresql":
        with _session_lock(engine, name, wait) as locked:
            yield locked
        return
    if not (file := engine.url.database) or file == ":memory:":
        yield True  # no other process can open this database
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
    # Autocommit, because a training may take hours and no transaction may stay open that long.
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
            with suppress(sa.exc.DBAPIError):  # the lock ended with its session
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))
