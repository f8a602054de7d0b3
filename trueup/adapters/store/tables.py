"""The store's tables: a row makes a file visible."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import pandas as pd
import sqlalchemy as sa

from trueup.adapters.files.port import Files, Stored
from trueup.domain.types import Window
from trueup.errors import UsageError

T = TypeVar("T")

metadata = sa.MetaData()

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.:@-]*"  # ASCII only, without look-alikes
_RECORDED = "recorded_at"  # wall time, for people; `sequence` defines the order


def _recorded() -> sa.Column[datetime]:
    return sa.Column(_RECORDED, sa.DateTime, nullable=False, server_default=sa.func.current_timestamp())


def _removed() -> sa.Column[datetime]:
    return sa.Column("removed_at", sa.DateTime)  # wall time; null while the file exists


def _window() -> list[sa.Column[Any]]:
    return [sa.Column("start", sa.DateTime, nullable=False), sa.Column("end", sa.DateTime, nullable=False)]


def _file() -> list[sa.Column[Any]]:
    return [
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
    ]


BATCHES = sa.Table(
    "batches",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("dataset", sa.String(200), nullable=False),
    *_window(),
    sa.Column("revision", sa.Integer, nullable=False),
    *_file(),
    sa.Column("facts", sa.Text, nullable=False),
    _recorded(),
    _removed(),
    sa.UniqueConstraint("dataset", "start", "end", "revision"),
)

QUARANTINE = sa.Table(
    "quarantine",
    metadata,
    sa.Column("sequence", sa.ForeignKey(BATCHES.c.sequence), primary_key=True),
    sa.Column("judgement", sa.Integer, primary_key=True),
    *_file(),
    _recorded(),
)

RELEASES = sa.Table(
    "releases",
    metadata,
    sa.Column("sequence", sa.ForeignKey(BATCHES.c.sequence), primary_key=True),
    sa.Column("row_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    _recorded(),
)

PREDICTIONS = sa.Table(
    "predictions",
    metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("role", sa.String(200), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    *_window(),
    *_file(),
    _recorded(),
    _removed(),
)

SERVED = sa.Table(
    "served",
    metadata,
    sa.Column("model", sa.String(200), primary_key=True),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    *_window(),
    *_file(),
    _recorded(),
    _removed(),
)

# Written by servers, see `serving.home_table`.
SERVED_LOG = sa.Table(
    "served_log",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("model", sa.String(200), nullable=False, index=True),
    sa.Column("payload", sa.LargeBinary, nullable=False),
    _recorded(),
)

RESULTS = sa.Table(
    "results",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String(200), nullable=False),
    sa.Column("stage", sa.String(200), nullable=False),
    *_window(),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("as_of", sa.DateTime, nullable=False),
    sa.Column("basis", sa.String(100), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    _recorded(),
    sa.UniqueConstraint("model", "stage", "start", "end", "revision", "as_of", "basis"),
)


# Files that `trueup gc` found unneeded, and removes if a later look finds the same.
MARKED = sa.Table(
    "marked",
    metadata,
    sa.Column("kind", sa.String(250), primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),  # of the file
    sa.Column("marked_at", sa.DateTime, nullable=False, server_default=sa.func.current_timestamp()),
)


@sa.event.listens_for(metadata, "after_create")
def _renew(_metadata: sa.MetaData, connection: sa.Connection, **_: Any) -> None:
    """Give the tables of homes from before anything was ever removed their column for it."""
    for table in (BATCHES, PREDICTIONS):
        if not any(column["name"] == "removed_at" for column in sa.inspect(connection).get_columns(table.name)):
            kind = table.c.removed_at.type.compile(connection.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN removed_at {kind}")


# When features were last used, in steps of an hour, by the database's clock.
FEATURES_USED = sa.Table(
    "features_used",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("used_at", sa.DateTime, nullable=False),
)


class Shelf:
    """Base class of the parts of the store: the files of a home, and the database that lists those that count."""

    def __init__(self, files: Files, engine: sa.Engine) -> None:
        self.files = files
        self.engine = engine

    def at(self, key: str) -> Stored:
        """One of the files."""
        return Stored(self.files, key)


def window_of(row: sa.Row[Any]) -> Window:
    """The window of a row of any of these tables."""
    return Window(row.start, row.end)


def moment(value: datetime) -> datetime:
    """A plain datetime, for drivers that do not support pandas' own."""
    return value.to_pydatetime() if isinstance(value, pd.Timestamp) else value


def as_json(body: Any) -> str:
    """Plain values as JSON text; NaN and infinities survive, as Python writes them."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"))


def stem(window: Window) -> str:
    """Name of a window in a path: 20130101T000000-20130201T000000."""
    return f"{window.start:%Y%m%dT%H%M%S}-{window.end:%Y%m%dT%H%M%S}"


def folder_name(name: str) -> str:
    """Refuse a name that would leave its folder.

    >>> folder_name("flight_delays/rows")
    'flight_delays/rows'
    """
    if len(name) > 200 or not re.fullmatch(rf"{_PART}(/{_PART})*", name):
        raise UsageError(f"{name!r} cannot name a dataset, a model or a role; use letters, digits, _ . : @ and -")
    return name


def until_it_holds(attempt: Callable[[], T], tries: int = 50) -> T:
    """Repeat a compare-and-set while another process is faster (IntegrityError: it took the number)."""
    for _ in range(tries - 1):
        try:
            return attempt()
        except sa.exc.IntegrityError:
            continue
    return attempt()
