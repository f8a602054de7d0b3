"""A closed home: its database names the place to which it was moved, and refuses writers."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.errors import UsageError

METADATA = sa.MetaData()
CLOSED = sa.Table(
    "closed",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # 1
    sa.Column("place", sa.Text, nullable=False),  # the new home, without passwords
    sa.Column("closed_at", sa.DateTime, nullable=False, server_default=sa.func.current_timestamp()),
)


def close(engine: sa.Engine, place: str) -> None:
    """Refuse to open the database for writing, or to take a lock of it, from now on."""
    with engine.begin() as connection:
        METADATA.create_all(connection)
        connection.execute(sa.delete(CLOSED))
        connection.execute(sa.insert(CLOSED), {"id": 1, "place": place})


def reopen(engine: sa.Engine) -> bool:
    """Admit writers again; return whether they were refused."""
    with engine.begin() as connection:
        METADATA.create_all(connection)
        return connection.execute(sa.delete(CLOSED)).rowcount > 0


def require_open(engine: sa.Engine) -> None:
    """Raise UsageError if the home of a database was moved."""
    # The option marks a reader; see `engines.reading`, which is above this module.
    with engine.connect().execution_options(trueup_reads=True) as connection:
        if not sa.inspect(connection).has_table(CLOSED.name):
            return
        place = connection.scalar(sa.select(CLOSED.c.place))
    if place is not None:
        raise UsageError(
            f"this home was moved to {place} and is closed for writing; set TRUEUP_HOME and TRUEUP_DATABASE_URL to the new "
            "place. If the move was interrupted, `trueup move --reopen` opens this one again"
        )
