"""A lock by name that only one process (or thread) holds, and that a dead process frees at once.

Beside SQLite it is a lock of the operating system on a file, on PostgreSQL a lock of the session: both end with their
holder, so nobody ever has to find out whether an owner is still alive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import sqlalchemy as sa
from filelock import FileLock, Timeout


@contextmanager
def alone(engine: sa.Engine, name: str) -> Iterator[bool]:
    """Try to hold the lock `name` for the block; say whether it is held. Never waits."""
    if engine.dialect.name == "postgresql":
        with _session_lock(engine, name) as held:
            yield held
        return
    if not (file := engine.url.database) or file == ":memory:":
        yield True  # a database that nobody else can open
        return
    lock = FileLock(f"{file}.{name}.lock", timeout=0)
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
def _session_lock(engine: sa.Engine, name: str) -> Iterator[bool]:
    key = int.from_bytes(hashlib.sha256(f"trueup:{name}".encode()).digest()[:8], "big", signed=True)
    # Each statement commits by itself: a training may take hours, and no transaction may stay open as long.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
            yield False
            return
        try:
            yield True
        finally:
            with suppress(sa.exc.DBAPIError):  # with its session a lock is gone already
                connection.execute(sa.select(sa.func.pg_advisory_unlock(key)))


def named_once(file: Path) -> str:
    """The name in a file; the first process to ask makes it up, and all get the same."""
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f"{file.name}.{uuid4().hex}")
        beside.write_text(uuid4().hex)
        with suppress(FileExistsError):  # else another was faster
            file.hardlink_to(beside)
        beside.unlink()
    return file.read_text().strip()
