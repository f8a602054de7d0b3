"""Loads all rows of a database into another one, in one transaction: between SQLite and PostgreSQL, in any direction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import REGCLASS

from trueup.adapters.sql.engines import first_line, reading
from trueup.errors import UsageError, WorkError

_ROWS = 1000  # rows in memory at once


@contextmanager
def loaded_into(
    target: sa.Engine, source: sa.Engine, tables: Sequence[sa.Table], filled_when_made: Collection[str] = ()
) -> Iterator[sa.Connection]:
    """Load the rows of these tables, which both databases have; committed when the block ends without an error.

    Yields the transaction in the target.

    Referenced tables come first. Rows of the target in `filled_when_made` are replaced. Raises UsageError if other
    tables have rows, WorkError if rows cannot be loaded.
    """
    shown = target.url.render_as_string(hide_password=True)
    try:
        with target.begin() as connection:
            _require_unused(connection, [table for table in tables if table.name not in filled_when_made])
            for table in tables:
                if table.name in filled_when_made:
                    connection.execute(sa.delete(table))
            with reading(source) as rows:
                for table in tables:
                    _copy(rows, connection, table)
            yield connection
    except sa.exc.SQLAlchemyError as error:
        raise WorkError(f"the rows could not be loaded into {shown}: {first_line(error)}; none was kept") from None


def require_unused(database: sa.Engine, tables: Sequence[sa.Table]) -> None:
    """Raise UsageError if any of these tables is there and has rows, WorkError if the database does not answer."""
    with reading(database) as connection:
        names = sa.inspect(connection).get_table_names()
        _require_unused(connection, [table for table in tables if table.name in names])


def _require_unused(connection: sa.Connection, tables: Sequence[sa.Table]) -> None:
    for table in tables:
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first():
            shown = connection.engine.url.render_as_string(hide_password=True)
            raise UsageError(
                f"{shown} is used already: there are rows in its table {table.name}; name an empty database"
            )


def _copy(source: sa.Connection, target: sa.Connection, table: sa.Table) -> None:
    """Read the source's values with the target's types."""
    columns = [column for column in table.c if column.computed is None]
    for part in source.execute(sa.select(*columns)).mappings().partitions(_ROWS):
        target.execute(sa.insert(table), [dict(row) for row in part])
    if target.dialect.name == "postgresql":
        for column in table.primary_key:
            _count_on(target, table, column)


def _count_on(target: sa.Connection, table: sa.Table, column: sa.Column[int]) -> None:
    """Let PostgreSQL continue numbering after the loaded rows."""
    quoted = target.dialect.identifier_preparer.format_table(table)
    sequence = target.scalar(sa.select(sa.func.pg_get_serial_sequence(quoted, column.name)))
    if sequence is not None:
        following = sa.func.coalesce(sa.func.max(column), 0) + 1
        target.execute(sa.select(sa.func.setval(sa.cast(sequence, REGCLASS), following, False)))
