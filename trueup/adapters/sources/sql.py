"""The source `sql`: a query over any database that SQLAlchemy supports."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import sqlalchemy as sa
from pydantic import Field

from trueup.adapters import parquet
from trueup.adapters.sources.port import (
    TEXT_SLACK,
    Mark,
    SourcePort,
    check_columns,
    in_window,
    instants,
    span_by_day,
    span_by_time,
)
from trueup.adapters.sources.source import Source
from trueup.adapters.sql.engines import UserDatabase
from trueup.config.content import Location
from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.clock import FIRST, LAST, ROWS, Span
from trueup.domain.data.moments import event_times
from trueup.errors import SourceError, SourceUnavailable

_MARKS = 100  # rows of a watermark


class SqlSource(Source):
    """A query over any SQLAlchemy URL."""

    kind: Literal["sql"] = "sql"
    url: str = Field(
        description="SQLAlchemy URL. `${NAME}` is read from the environment, which keeps secrets out of the file."
    )
    query: str = Field(description="A SELECT. Trueup wraps the time window around it, so that the database filters.")
    updated_at: str | None = Field(
        None,
        description="A column with the time at which a row was last written, or a number that grows with each write. Landed batches with rows written since the last ingest are read again, however old they are. Rows that were deleted, or moved to another time, are not noticed in their old batch.",
    )

    watermark: str | None = Field(
        None,
        description="A SELECT whose result changes whenever that of `query` does, such as `SELECT max(changed_at), count(*) FROM orders`. While it stays the same, the source is not read again. Leave it out if `query` depends on the day.",
    )

    @classmethod
    def named_columns(cls, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        if content.get("updated_at") is not None:
            yield ("updated_at",), content["updated_at"]

    def open(self, reading: IngestConfig, root: Path) -> SourcePort:
        return SqlTable(self, reading, root)


class SqlTable(SourcePort):
    """`SELECT ... FROM (query) WHERE time is in the window`: the database filters.

    Times may be timestamps with or without a zone, dates, or ISO 8601 text in SQLite, which has no such types. Text in
    another format (`ingest.time_format`) cannot be compared in SQL: all rows are read, and filtered here.
    """

    def __init__(self, source: SqlSource, config: IngestConfig, root: Path) -> None:
        self._config = config
        self._updated_at = source.updated_at
        self._query = source.query
        self._watermark = source.watermark
        self._database = UserDatabase(source.url, root, SourceError, must_exist=True)
        self.name = f"SQL source {self._database.shown}"

    def columns(self) -> list[str]:
        with self._connection() as connection:
            return self._names(connection)

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, text: Collection[str] = ()
    ) -> pd.DataFrame:
        del text  # a database has types
        time = self._config.time
        with self._connection() as connection:
            names = self._names(connection, [time, *(columns or ())])
            wanted = names if columns is None else list(dict.fromkeys([time, *columns]))
            rows = self._rows(wanted)
            inside = self._inside(self._sample(connection), rows.c[time], start, end)
            frame = _fetched(connection, sa.select(*(rows.c[name] for name in wanted)).where(inside), wanted)
        inside_window = in_window(frame, self._config, start, end, self.name)
        return inside_window if columns is None else inside_window[list(columns)]

    def everything(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        with self._connection() as connection:
            rows = self._rows(wanted := list(columns or self._names(connection)))
            self._names(connection, wanted)
            return _fetched(connection, sa.select(*(rows.c[name] for name in wanted)), wanted)

    def span(self) -> Span | None:
        """Count the rows of each day; for text, those of each distinct time."""
        time = self._rows([self._config.time]).c[self._config.time]
        with self._connection() as connection:
            self._names(connection, [self._config.time])
            text = self._is_text(self._sample(connection))
            by = time if text else sa.cast(time, sa.Date)
            query = sa.select(sa.func.min(time), sa.func.max(time), sa.func.count(time)).group_by(by)
            days = pd.DataFrame(connection.execute(query).all(), columns=[FIRST, LAST, ROWS], dtype=object)
        if text:
            return span_by_time(days[FIRST], days[ROWS], self._config, self.name)
        return span_by_day(days, self._config, self.name)

    def state(self) -> str | None:
        """Digest of the watermark's rows, and of the database that they come from."""
        if self._watermark is None:
            return None
        place = self._database.engine.url.render_as_string(hide_password=True)
        with self._connection("watermark") as connection:
            rows = connection.execute(_as_written(self._watermark)).fetchmany(_MARKS + 1)
        if not 0 < len(rows) <= _MARKS:
            raise SourceError(
                f"{self.name}: ingest.source.watermark has {f'more than {_MARKS} rows' if rows else 'no row'}; select a few "
                "figures that change with every write, such as max(changed_at) and count(*)"
            )
        return hashlib.sha256(repr([place, [tuple(row) for row in rows]]).encode()).hexdigest()

    def mark(self) -> Mark | None:
        """The newest `updated_at`, and how many rows have it: more may get the same one later."""
        if self._updated_at is None:
            return None
        with self._connection() as connection:
            self._names(connection, [self._updated_at])
            written = self._rows([self._updated_at]).c[self._updated_at]
            newest = connection.scalar(sa.select(sa.func.max(written)))
            if newest is None:
                return None
            rows = connection.scalar(sa.select(sa.func.count()).where(written == newest))
        return {"column": self._updated_at, "newest": self._plain(newest), "rows": rows}

    def written_since(self, mark: Mark) -> list[datetime]:
        """Distinct times of rows written then or later; of all rows, when the mark is of another column."""
        time, name = self._config.time, self._updated_at
        if name is None:
            return []
        with self._connection() as connection:
            self._names(connection, [time, name])
            rows = self._rows([time, name])
            later = rows.c[name].is_not(None)
            if mark["column"] == name:
                later = rows.c[name] >= _as_it_was(mark["newest"])  # more rows may have the same one now
            query = sa.select(rows.c[time]).where(later, rows.c[time].is_not(None)).distinct()
            moments = list(connection.scalars(query))
        times = event_times(pd.Series(moments, dtype=object, name=time), self._config, f"{self.name}: ingest.time")
        return [moment.to_pydatetime() for moment in times.dropna().unique()]

    def _plain(self, written: Any) -> Any:
        """A value of `updated_at` as plain values, which `_as_it_was` reads."""
        if isinstance(written, date):
            return {type(written).__name__: written.isoformat()}
        if isinstance(written, int | float | str):
            return written
        if isinstance(written, Decimal):
            return {"Decimal": str(written)}
        raise SourceError(
            f"{self.name}: ingest.source.updated_at: '{self._updated_at}' holds {type(written).__name__} values such as "
            f"{written!r}, not times or numbers; convert them in the query"
        )

    def _is_text(self, sample: Any) -> bool:
        """Whether times are text, or digits in a format of the config."""
        return isinstance(sample, str) or (
            self._config.time_format is not None and isinstance(sample, int | float | Decimal)
        )

    def _inside(self, sample: Any, time: Any, start: datetime, end: datetime) -> sa.ColumnElement[bool]:
        """Filter on the window, or slightly more: `in_window` is exact. Rows without a time stay."""
        if self._is_text(sample):
            return sa.true() if self._config.time_format is not None else self._inside_text(time, start, end)
        if isinstance(sample, datetime) and sample.tzinfo is not None:
            start, end = instants(start, end, self._config.timezone)
        elif sample is not None and not isinstance(sample, date):
            raise SourceError(
                f"{self.name}: ingest.time: '{self._config.time}' holds {type(sample).__name__} values such as "
                f"{sample!r}, not times; convert them in the query"
            )
        return sa.or_(time.is_(None), sa.and_(time >= start, time < end))

    def _inside_text(self, time: Any, start: datetime, end: datetime) -> sa.ColumnElement[bool]:
        if self._database.engine.dialect.name != "sqlite":
            raise SourceError(
                f"{self.name}: ingest.time: '{self._config.time}' is text in the database, which cannot be filtered "
                f"by time; cast it in the query, as in SELECT CAST({self._config.time} AS timestamp), or give ingest.time_format"
            )
        day = sa.func.substr(time, 1, 10)
        no_date = sa.or_(time.is_(None), sa.func.date(day).is_(None), time.not_like("____-__-__%"))
        first, last = f"{start - TEXT_SLACK:%Y-%m-%d}", f"{end + TEXT_SLACK:%Y-%m-%d}"
        return sa.or_(no_date, sa.and_(day >= first, day < last))

    def _sample(self, connection: sa.Connection) -> Any:
        """One time of the source, as the driver reads it; None without any."""
        time = self._rows([self._config.time]).c[self._config.time]
        return connection.scalar(sa.select(time).where(time.is_not(None)).limit(1))

    def _rows(self, names: Sequence[str]) -> sa.Subquery:
        """The user's query as a subquery with these columns."""
        return _as_written(self._query).columns(*(sa.column(name) for name in names)).subquery("q")

    def _names(self, connection: sa.Connection, needed: Sequence[str] = ()) -> list[str]:
        everything = sa.select(sa.text("*")).select_from(self._rows([])).limit(0)
        columns = list(connection.execute(everything).keys())
        # SQLite calls the second x of a subquery "x:1"
        names = [base if (base := re.sub(r":\d+$", "", name)) in columns else name for name in columns]
        check_columns(names, needed, self.name)
        return names

    @contextmanager
    def _connection(self, key: str = "query") -> Iterator[sa.Connection]:
        """A connection for a query of the config, which errors name."""
        try:
            with self._database.engine.connect() as connection:
                yield connection
        except (sa.exc.SQLAlchemyError, pd.errors.DatabaseError, OSError) as error:
            reason = self._database.reason(error)
            if isinstance(error, sa.exc.OperationalError) and self._database.may_pass(error):
                failure: SourceError = SourceUnavailable(
                    f"{self.name}: {reason}; check the address and that the database runs"
                )
            else:
                failure = SourceError(f"{self.name}: {reason}; check ingest.source.{key}")
            raise failure from None  # the cause may contain the address with its password


def _as_written(query: str) -> sa.TextClause:
    """A query of the config. A colon marks no parameter in it."""
    return sa.text(query.strip().rstrip(";").replace(":", "\\:") + "\n")


def _fetched(connection: sa.Connection, query: sa.Select[Any], names: Sequence[str]) -> pd.DataFrame:
    """Rows with every digit, by `parquet.exact`: pandas' own reading makes floats of whole numbers."""
    values = zip(*connection.execute(query).tuples(), strict=True)
    columns = dict(zip(names, values, strict=False)) or dict.fromkeys(names, ())
    return pd.DataFrame({name: parquet.exact(column) for name, column in columns.items()}, columns=list(names))


def _as_it_was(plain: Any) -> Any:
    """The value that a mark holds."""
    if not isinstance(plain, dict):
        return plain
    readers: dict[str, Callable[[str], Any]] = {
        "datetime": datetime.fromisoformat,
        "date": date.fromisoformat,
        "Decimal": Decimal,
    }
    ((kind, text),) = plain.items()
    return readers[kind](text)
