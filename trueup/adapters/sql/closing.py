"""Homes on the move: a closed home names the place to which it was moved, and its copy is closed until all of it is there."""

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
ARRIVING = sa.Table(
    "arriving",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # 1
    sa.Column("source", sa.Text, nullable=False),  # the identity of the home that is moved here
    sa.Column("began_at", sa.DateTime, nullable=False, server_default=sa.func.current_timestamp()),
)


def close(engine: sa.Engine, place: str) -> None:
    """Refuse to open the database for writing, or to take a lock of it, from now on."""
    _write(engine, CLOSED, {"id": 1, "place": place})


def reopen(engine: sa.Engine) -> bool:
    """Admit writers again; return whether they were refused."""
    return _clear(engine, CLOSED)


def begin_arrival(engine: sa.Engine, source: str) -> None:
    """Refuse readers and writers alike until `end_arrival`: the database is filled by a move of the home `source`."""
    _write(engine, ARRIVING, {"id": 1, "source": source})


def end_arrival(engine: sa.Engine) -> None:
    """Let the new home count."""
    _clear(engine, ARRIVING)


def place_of(engine: sa.Engine) -> str | None:
    """The place to which a home was moved; None for an open one."""
    return _read(engine, CLOSED.c.place)


def arriving_from(engine: sa.Engine) -> str | None:
    """The identity of the home whose move to here is not complete, if any."""
    return _read(engine, ARRIVING.c.source)


def require_open(engine: sa.Engine) -> None:
    """Raise UsageError if the home of a database was moved, or is not all there yet."""
    # The option marks a reader; see `engines.reading`, which is above this module.
    with engine.connect().execution_options(trueup_reads=True) as connection:
        there = [table for table in METADATA.sorted_tables if sa.inspect(connection).has_table(table.name)]
        place = connection.scalar(sa.select(CLOSED.c.place)) if CLOSED in there else None
        source = connection.scalar(sa.select(ARRIVING.c.source)) if ARRIVING in there else None
    if place is not None:
        raise UsageError(
            f"this home was moved to {place} and is closed for writing; set TRUEUP_HOME, TRUEUP_DATABASE_URL and "
            "TRUEUP_MLFLOW_URI to the new place. If the move was interrupted, run the same `trueup move` again, or open this "
            "home with `trueup move --reopen`"
        )
    if source is not None:
        raise UsageError(
            "a move to this home is not complete; run the same `trueup move` again in the old home, which is still the one "
            "that counts"
        )


def _write(engine: sa.Engine, table: sa.Table, row: dict[str, object]) -> None:
    with engine.begin() as connection:
        METADATA.create_all(connection)
        connection.execute(sa.delete(table))
        connection.execute(sa.insert(table), row)


def _clear(engine: sa.Engine, table: sa.Table) -> bool:
    with engine.begin() as connection:
        METADATA.create_all(connection)
        return connection.execute(sa.delete(table)).rowcount > 0


def _read(engine: sa.Engine, column: sa.Column[str]) -> str | None:
    with engine.connect().execution_options(trueup_reads=True) as connection:
        if not sa.inspect(connection).has_table(column.table.name):
            return None
        return connection.scalar(sa.select(column))
