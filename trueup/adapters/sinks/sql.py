"""The sink `sql`: a table of the user's database."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa
from pandas.api import types as dtypes
from pydantic import Field

from trueup.adapters.sinks import Sink
from trueup.adapters.sql.engines import UserDatabase
from trueup.domain.data.values import as_integers
from trueup.domain.types import ROW_ID, Window
from trueup.errors import WorkError

_TRIES = 3
_CHUNK = 1_000  # keys in one DELETE, below the limit of any database


class SqlSink(Sink):
    """Predictions in a SQL table, one row per key."""

    kind: Literal["sql"] = "sql"
    url: str = Field(
        description="Address of the database; `${NAME}` is a variable of the environment, for its password."
    )
    table: str = Field(pattern=r"^[A-Za-z_]\w*$", description="Name of the table.")

    def write(self, window: Window, frame: pd.DataFrame, root: Path) -> None:
        """Replace the rows of the batch's keys in one transaction, in a table that is made when it does not exist."""
        database = UserDatabase(self.url, root, WorkError)
        name = f"SQL sink {database.shown}, table {self.table}"
        rows = frame.drop_duplicates(ROW_ID).sort_values(ROW_ID)  # in one order, so that two writers do not deadlock
        try:
            for _ in range(_TRIES - 1):
                # Another process may insert our keys, or create the table, first.
                with suppress(sa.exc.IntegrityError, sa.exc.ProgrammingError, sa.exc.OperationalError):
                    return self._replace(rows, database.engine, name)
            self._replace(rows, database.engine, name)
        except sa.exc.SQLAlchemyError as error:
            raise WorkError(
                f"{name}: the predictions for {window} cannot be written: {database.reason(error)}; check "
                "the address, that the database runs and that the table may be written, then score again"
            ) from None  # the cause may contain the address with its password

    def _replace(self, rows: pd.DataFrame, engine: sa.Engine, name: str) -> None:
        with engine.begin() as connection:
            table = self._table_in(connection, rows)
            if absent := [name for name in rows.columns if name not in table.c]:
                raise WorkError(
                    f"{name}: it has no column {', '.join(absent)}; add what is missing, or name another table"
                )
            keys = iter(rows[ROW_ID].tolist())
            while chunk := list(islice(keys, _CHUNK)):
                connection.execute(sa.delete(table).where(table.c[ROW_ID].in_(chunk)))
            if len(rows):
                fitted = {str(name): _fitted(column, table.c[str(name)].type) for name, column in rows.items()}
                connection.execute(sa.insert(table), _records(pd.DataFrame(fitted)))

    def _table_in(self, connection: sa.Connection, rows: pd.DataFrame) -> sa.Table:
        """The table; created with the columns of `rows` if it is missing."""
        if sa.inspect(connection).has_table(self.table):
            return sa.Table(self.table, sa.MetaData(), autoload_with=connection)
        columns: list[sa.Column[Any]] = [
            sa.Column(str(name), _sql_type(column), primary_key=name == ROW_ID, autoincrement=False)
            for name, column in rows.items()
        ]
        table = sa.Table(self.table, sa.MetaData(), *columns)
        table.create(connection)
        return table


def _fitted(column: pd.Series[Any], kind: sa.types.TypeEngine[Any]) -> pd.Series[Any]:
    """Keys are text here; a table of the user's may hold them as whole numbers, with every digit."""
    if not isinstance(kind, sa.Integer) or not (
        column.dtype == object or isinstance(column.dtype, pd.CategoricalDtype)
    ):
        return column
    whole = as_integers(column)
    return column if whole is None else whole


def _records(rows: pd.DataFrame) -> list[dict[str, object]]:
    """Rows as plain Python values, with None for missing ones."""
    plain = {
        str(n): [None if gone else v for v, gone in zip(c.tolist(), c.isna(), strict=True)] for n, c in rows.items()
    }
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def _sql_type(column: pd.Series[Any]) -> sa.types.TypeEngine[Any]:
    if dtypes.is_bool_dtype(column):
        return sa.Boolean()
    if dtypes.is_integer_dtype(column):
        return sa.BigInteger()
    if dtypes.is_float_dtype(column):
        return sa.Double()
    return sa.DateTime() if dtypes.is_datetime64_any_dtype(column) else sa.Text()
