"""Fencing tokens: a transaction within a lock's block is refused once another process has taken the lock.

Taking a lock counts its token up in the table `locks`. The transactions of `engines.connect` compare the token when they
begin, and keep it from changing until they end. So a holder that lost its lock without noticing, because its connection
was cut, commits nothing after the next holder began. Only transactions that are marked as reading skip the comparison.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from trueup.errors import LockLost

METADATA = sa.MetaData()
LOCKS = sa.Table(
    "locks",
    METADATA,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),  # counts the holders; never goes back
    sa.Column("holder", sa.Text, nullable=False),  # of the newest token, for people
    sa.Column("taken_at", sa.DateTime, nullable=False, server_default=sa.func.current_timestamp()),  # database's clock
)

_CHECKS = {
    # The row stays locked until the transaction ends: the next holder waits for it to count the token up.
    "postgresql": f"SELECT token, holder FROM {LOCKS.name} WHERE name = %s FOR SHARE",
    "sqlite": f"SELECT token, holder FROM {LOCKS.name} WHERE name = ?",  # the transaction is the only writer
}


@dataclass(frozen=True)
class _Held:
    url: sa.URL
    name: str
    token: int


_HELD: ContextVar[tuple[_Held, ...]] = ContextVar("trueup_locks_held", default=())


@contextmanager
def fenced(url: sa.URL, name: str, token: int) -> Iterator[None]:
    """Let the transactions of the block on this database check that the token is still the lock's newest one."""
    before = _HELD.set((*_HELD.get(), _Held(url, name, token)))
    try:
        yield
    finally:
        _HELD.reset(before)


def next_token(connection: sa.Connection, name: str) -> int:
    """Count a lock's token up for this process, which has just taken the lock."""
    of_holder = f"{socket.gethostname()} process {os.getpid()}"
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects.postgresql import insert
    else:
        from sqlalchemy.dialects.sqlite import insert  # type: ignore[assignment]
    first = insert(LOCKS).values(name=name, token=1, holder=of_holder)
    changes = {"token": LOCKS.c.token + 1, "holder": of_holder, "taken_at": sa.func.current_timestamp()}
    counted = first.on_conflict_do_update(index_elements=[LOCKS.c.name], set_=changes).returning(LOCKS.c.token)
    return int(connection.execute(counted).scalar_one())


def require_held(connection: sa.Connection) -> None:
    """Raise LockLost if another process has taken a lock in whose block this transaction begins."""
    for held in _HELD.get():
        if held.url == connection.engine.url:
            found = _newest(connection, held.name)
            if found is None or found[0] != held.token:
                raise LockLost(
                    f"the lock {held.name} was lost: {found[1] if found else 'another process'} holds it now; the "
                    "connection to the database was cut or the database was restarted. Nothing more is recorded here; "
                    "check `trueup status`, and run again if the other process did not finish this work"
                )


def _newest(connection: sa.Connection, name: str) -> tuple[int, str] | None:
    statement, dialect = _CHECKS[connection.dialect.name], connection.dialect
    driver: Any = connection.connection.driver_connection
    try:
        row: tuple[int, str] | None = driver.execute(statement, (name,)).fetchone()
    except dialect.loaded_dbapi.Error as error:
        raise sa.exc.OperationalError(statement, None, error) from error
    return row
