"""Finds a landed row by its key, and says what is near it if there is none."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.config.schema import ModelConfig
from trueup.domain.data.column_kinds import bring, declared_kinds
from trueup.domain.data.values import ColumnKind, as_text, numbers_of, settled
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.errors import NoData, UsageError
from trueup.explain.rows import parts
from trueup.hints import did_you_mean
from trueup.model import Model

_LISTED: Final = 3  # rows that a message names
_WORDS: Final[Mapping[ColumnKind, str]] = {
    "time": "time; write it as 2013-04-01T06:00",
    "boolean": "boolean; write true or false",
    "number": "number",
    "integer": "whole number",
}


_Row = tuple[Batch, "pd.Series[Any]"]


@dataclass
class _Alike:
    """Rows with the same ones of the wanted values: their number, and the first ones."""

    count: int = 0
    rows: list[_Row] = field(default_factory=list)

    def add(self, batch: Batch, rows: pd.DataFrame, places: NDArray[np.intp]) -> None:
        self.count += len(places)
        self.rows += [(batch, rows.iloc[place]) for place in places[: _LISTED - len(self.rows)]]


@dataclass(frozen=True)
class Found:
    """A landed row: its batch and id."""

    batch: Batch
    row_id: int


def parsed(config: ModelConfig, text: str) -> dict[str, str]:
    """Read a key: `carrier=UA,flight=1545`, or values alone in the order of `ingest.key`, or `row_id=NUMBER`.

    A value with a comma is quoted as in a CSV file. Not all columns of the key have to be named. Raises UsageError.

    The names of the key's columns decide: `a=b` is a value if `a` is no column and there is one value for each column.
    """
    columns, name = config.ingest.key, config.model
    try:
        fields = [part.strip() for part in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error as error:
        raise UsageError(f"{name}: the key cannot be read: {error}; {_form(columns)}") from None
    known = {ROW_ID, *columns}
    pairs = [part.partition("=") for part in fields]
    if not any(fields):
        raise UsageError(f"{name}: the key is empty; {_form(columns)}")
    if not any(column.strip() in known and equals for column, equals, _ in pairs) and len(fields) == len(columns):
        return dict(zip(columns, fields, strict=True))
    key = dict[str, str]()
    for part, (column, equals, value) in zip(fields, pairs, strict=True):
        column = column.strip()
        if not equals:
            raise UsageError(
                f"{name}: {len(fields)} of {len(columns)} values: {part!r} is no COLUMN=VALUE; {_form(columns)}"
            )
        if column not in known:
            raise UsageError(
                f"{name}: {column!r} is no column of the key; {did_you_mean(column, known, _form(columns))}"
            )
        if column in key:
            raise UsageError(f"{name}: the key names {column} twice; name it once")
        key[column] = value.strip()
    return key


def _form(columns: Sequence[str]) -> str:
    if not columns:
        return "the model has no ingest.key, so write row_id=NUMBER, which stored predictions and the quarantine have"
    return f"write {','.join(f'{column}=VALUE' for column in columns)}, or the values alone in this order"


def find(model: Model, key: Mapping[str, str], at: datetime | None = None, shown: bool = True) -> Found:
    """The landed row with these values of key columns, of the batch with the moment `at` if given.

    Raises UsageError for a value that is none of its column, and for several rows; NoData for none. With `shown` the
    messages name values of near rows.
    """
    batches = _batches(model, at)
    wanted = _values(model, key)
    columns, name = list(dict.fromkeys([ROW_ID, EVENT_TIME, *model.config.ingest.key])), model.config.model
    alike = dict[int, _Alike]()  # by which of the wanted values the rows have: bit i for the i-th
    distinct = {column: set[str]() for column in wanted if column != ROW_ID}
    whole = 2 ** len(wanted) - 1
    for batch in batches:
        for rows in parts(model.home, batch.rows, columns):
            have = np.zeros(len(rows), dtype=np.int64)
            for bit, (column, value) in enumerate(wanted.items()):
                have |= _equal(rows, column, value, model.config.ingest.time).astype(np.int64) << bit
            for mask in np.unique(have).tolist():
                alike.setdefault(mask, _Alike()).add(batch, rows, np.flatnonzero(have == mask))
            for column, values in distinct.items() if whole not in alike else ():
                values.update(as_text(rows[_column(column, model.config.ingest.time)]).dropna().unique())
    if whole not in alike:
        near = max(alike.items(), key=lambda item: (item[0].bit_count(), -item[1].count))[1].rows if alike else []
        hint = _hint(model, key, distinct, near, shown)
        serves = (
            "" if model.config.serve is None else ". What a server predicted is explained once its batch has landed"
        )
        raise NoData(f"{name}: no landed row has this key{_where(at, batches)}; {hint}{serves}")
    found = alike[whole]
    if found.count > 1:
        raise UsageError(
            f"{name}: {found.count:,} rows have this key: {_listed(model, found.rows, shown)}"
            f"{', ...' if found.count > _LISTED else ''}; name more columns of the key, a moment of the batch with --batch, "
            "or row_id=NUMBER"
        )
    batch, row = found.rows[0]
    return Found(batch, int(row[ROW_ID]))


def _batches(model: Model, at: datetime | None) -> list[Batch]:
    landed = model.batches(datetime.max)
    if not landed:
        raise NoData(f"{model.config.model}: no batch has landed yet; next: trueup run {model.config.model}")
    if at is None:
        return landed
    if at.tzinfo is not None:
        with suppress(OverflowError):  # at the ends of the calendar, where no batch is
            at = at.astimezone(ZoneInfo(model.config.ingest.timezone))
        at = at.replace(tzinfo=None)
    chosen = [batch for batch in landed if at in batch.window]
    if not chosen:
        first, last = landed[0].window, landed[-1].window
        raise UsageError(
            f"{model.config.model}: no batch with {at:%Y-%m-%d %H:%M} has landed; the landed ones reach from "
            f"{first.start:%Y-%m-%d} to {last.end:%Y-%m-%d}, each a {model.config.ingest.period}"
        )
    return chosen


def _values(model: Model, key: Mapping[str, str]) -> dict[str, Any]:
    """The values as landed rows have them. Raises UsageError for one that is none of its column."""
    reading = model.config.reading
    facts = model.landed_facts()
    kinds = settled(declared_kinds(reading, model.config.numeric_columns), facts.kinds)
    return {name: _value(model, name, text, kinds.get(name, "text")) for name, text in key.items()}


def _value(model: Model, name: str, text: str, kind: ColumnKind) -> Any:
    column = pd.Series([text], dtype=object)
    if name == ROW_ID:
        kind = "integer"
    elif name == model.config.ingest.time:
        kind = "time"
    elif kind == "number":
        column = numbers_of(column)
    brought = bring(column, kind, model.config.ingest.timezone)
    if brought is None or brought.isna().any():
        raise UsageError(f"{model.config.model}: {name}: {text!r} is no {_WORDS.get(kind, kind)}")
    return brought.iloc[0]


def _column(name: str, time: str) -> str:
    return EVENT_TIME if name == time else name


def _equal(rows: pd.DataFrame, name: str, value: Any, time: str) -> NDArray[np.bool_]:
    column = rows[_column(name, time)]
    if isinstance(column.dtype, pd.CategoricalDtype) and value not in column.cat.categories:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(column.eq(value).to_numpy(dtype=bool, na_value=False))


def _where(at: datetime | None, batches: list[Batch]) -> str:
    return "" if at is None else f" in the batch {batches[0].window}"


def _hint(
    model: Model,
    key: Mapping[str, str],
    distinct: Mapping[str, set[str]],
    near: Sequence[_Row],
    shown: bool,
) -> str:
    if ROW_ID in key:
        return "check the number, which stored predictions and the quarantine have"
    if not shown:
        return "check its values (rows near it are not shown, because the key is personal)"
    wanted = {name: as_text(pd.Series([value], dtype=object)).iloc[0] for name, value in _values(model, key).items()}
    for name, text in wanted.items():
        if text not in distinct[name]:
            close = did_you_mean(text, sorted(distinct[name]), cutoff=0.5)
            return f"none has {name}={text}{f'; {close}' if close else ''}"
    return f"the nearest are {_listed(model, near, shown)}"


def _listed(model: Model, rows: Sequence[_Row], shown: bool) -> str:
    names = model.config.ingest.key if shown else []
    return "; ".join(
        ",".join(f"{name}={_text(row[name])}" for name in names if name in row)
        + (f" of {row[EVENT_TIME]:%Y-%m-%d %H:%M}" if model.config.ingest.time not in names else "")
        + f" (row_id={row[ROW_ID]})"
        for _, row in rows[:_LISTED]
    )


def _text(value: Any) -> str:
    text = as_text(pd.Series([value], dtype=object)).iloc[0]
    return "missing" if text is None else str(text)
