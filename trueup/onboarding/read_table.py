"""Reads the table for a new config, from any place and in any format."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from trueup.adapters.sources import open_source
from trueup.adapters.sources.csv_files import likely_encoding
from trueup.adapters.sources.file_table import FileTable
from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.values import as_numbers
from trueup.domain.profiling.columns import comma_decimals
from trueup.domain.profiling.dialect import header_of, marks_of
from trueup.domain.profiling.questions import Ask, require_columns
from trueup.domain.profiling.times import Times, are_years, read_times
from trueup.errors import SourceError, UsageError
from trueup.secrecy import PERHAPS, holds_secret

Section = dict[str, Any]  # of a config, as it will be written
_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_DATABASE = re.compile(
    r"^(sqlite|postgres(?:ql)?|mysql|mariadb|mssql|oracle|duckdb|snowflake|redshift|trino|bigquery)(\+\w+)?://"
)
_WRITTEN = 20  # texts that show how a column is written
_DIALECTS: tuple[Section, ...] = ({}, {"escape": "\\"}, {"pad": True}, {"escape": "\\", "pad": True})


@dataclass(frozen=True)
class Table:
    """The result: each row once and with a time, and the `ingest.source` of a config."""

    rows: pd.DataFrame
    read: int  # rows, before those without a time and those that came twice were left out
    repeated: int
    times: Times
    source: Section
    outcomes: pd.DataFrame | None  # of a second source
    label_source: Section | None
    notes: tuple[str, ...]


def read_table(ask: Ask, configs: Path) -> Table:
    """Read the table, and the outcomes if they are in a second one.

    Raises SourceError if they cannot be read, UsageError for missing columns and for times that are not times.
    """
    reader = _Reader(ask, configs, _source("data", ask.data, ask.query, configs))
    raw, notes = reader.read(ask.data, ask.time), reader.notes
    label_source, outcomes = None, None
    if ask.labels is None and ask.labels_query is not None:
        raise UsageError("--labels-query: name the file or database of the outcomes, too, with --labels")
    if ask.labels is not None:
        beside = _Reader(ask, configs, _source("labels", ask.labels, ask.labels_query, configs), notes)
        outcomes, label_source = beside.read(ask.labels, ask.label), beside.source
    require_columns(raw, [ask.time, *ask.key, *([] if label_source else [ask.label])], ask.data)
    times = read_times(raw[ask.time], ask.timezone)
    if times.words and times.uniform and reader.source["kind"] == "files":  # else a line of totals would choose types
        raw = reader.everything({ask.time: list(times.words)})[list(raw.columns)]
    rows, repeated = len(raw), int(raw.duplicated().sum())
    kept = ~raw.duplicated()
    raw, times = raw[kept].reset_index(drop=True), times.of(kept)
    if not times.moments.notna().any():
        raise UsageError(_no_time(ask, raw[ask.time], times))
    notes += _time_notes(ask, times)
    reader.make_times_readable(times)
    if empty := int(raw[ask.time].isna().sum()):
        notes.append(
            f"CHECK time: {empty:,} rows have no {ask.time}, as a line of totals; they are left out, and counted"
        )
    raw = raw.assign(**{ask.time: times.moments})[times.moments.notna()].reset_index(drop=True)
    return Table(raw, rows, repeated, times, reader.source, outcomes, label_source, tuple(notes))


def _no_time(ask: Ask, column: pd.Series[Any], times: Times) -> str:
    """The message for a column without times."""
    problem = f"--time {ask.time}: holds {', '.join(map(repr, times.examples)) or 'nothing'}"
    name = _quoted(ask.time)
    if are_years(column):
        return (
            f"{problem}: years, and a row needs its day; name a column that has it. If the table has only the year, use its first "
            f"day: --query 'SELECT * REPLACE (make_date({name}, 1, 1) AS {name}) FROM files'"
        )
    if (numbers := as_numbers(column)) is not None and numbers.notna().any():
        return (
            f"{problem}, which are not times. If they count steps of time, convert them with the start and the length of a step: --query "
            f"'SELECT * REPLACE (TIMESTAMP 2000-01-01 + {name} * INTERVAL 1 HOUR AS {name}) FROM files', with quotes around the "
            "date; else name another column"
        )
    return f"{problem}, which is not a time; use another column"


@dataclass
class _Reader:
    """Reads a table, and records its format in `source` and in `notes`."""

    ask: Ask
    configs: Path
    source: Section
    notes: list[str] = field(default_factory=list)

    def read(self, data: str, named: str) -> pd.DataFrame:
        """Read all rows in any format; `named` is one of the columns."""
        raw = self._read_files(named) if self.source["kind"] == "files" else self.everything()
        nested = [str(c) for c in raw if isinstance(next(iter(raw[c].dropna()), None), list | dict | set | np.ndarray)]
        if nested:
            self.notes.append(
                f"CHECK: {', '.join(nested)}: lists and structs are left out; take them apart in the query"
            )
            raw = raw.drop(columns=nested)
        if data == self.ask.data:
            self._note_json(raw)
        if raw.empty:
            raise UsageError(f"{data}: has no rows; use a table with rows")
        return raw

    def _note_json(self, raw: pd.DataFrame) -> None:
        texts = [str(c) for c in raw if raw[c].dtype == object and _holds_json(raw[c])]
        if not texts:
            return
        first, query = _quoted(texts[0]), "one that leaves out the column"
        if self.source["kind"] == "files":
            query = f"SELECT * EXCLUDE ({first}), {first}->>'name' AS name FROM files"
        self.notes.append(
            f"CHECK: {', '.join(texts)}: JSON as text, in which each different one is a category of its own; take it apart with "
            f"--query: {query}"
        )

    def everything(self, missing: Mapping[str, Sequence[str]] | None = None, **odd: Any) -> pd.DataFrame:
        """All rows; `odd` are further keys of the source."""
        return open_source(self._config(missing, **odd), self.configs).everything()

    def make_times_readable(self, times: Times) -> None:
        """Let the source return times that can be read: by a query where one format does not do."""
        if times.plain or times.uniform:
            return
        if self.source["kind"] != "files":
            raise UsageError(
                f"--time {self.ask.time}: is not ISO 8601 throughout; convert it in the query or function, then try again"
            )
        name, listed = _quoted(self.ask.time), ", ".join(f"'{f}'" for f in times.formats)
        kind = "TIMESTAMPTZ" if times.zoned else "TIMESTAMP"  # the other forgets the offset
        as_time = f"COALESCE(CAST(TRY_CAST({name} AS {kind}) AS TIMESTAMP){f', try_strptime({name}, [{listed}])' if listed else ''})"
        if times.formats and (times.iso or len(times.formats) > 1):
            ways = [*(["ISO 8601"] if times.iso else []), *times.formats]
            self.notes.append(
                f"CHECK time: written in {len(ways)} ways ({', '.join(ways)}); the query reads all of them"
            )
        inner = self.source.get("query", "SELECT * FROM files").strip().rstrip(";")
        self.source = {**self.source, "query": f"SELECT * REPLACE ({as_time} AS {name}) FROM ({inner}\n) AS q"}
        self._require_same(times)

    def _require_same(self, times: Times) -> None:
        """Read by the query once: it must return the times that were found."""
        span = open_source(self._config(), self.configs).span()
        moments = times.moments.dropna()
        ends = span and (pd.Timestamp(span.earliest or span.first), pd.Timestamp(span.latest or span.last))
        if ends != (moments.min(), moments.max()):
            raise UsageError(
                f"--time {self.ask.time}: no query was found that reads all of its forms; convert it with --query, as in "
                "SELECT * REPLACE (strptime(t, '%d/%m/%Y') AS t) FROM files"
            )

    def _read_files(self, named: str) -> pd.DataFrame:
        source, notes = self.source, self.notes
        if len(sheets := self._opened().sheets()) > 1:
            source["sheet"] = next(
                (s for s in sheets if header_of(self._beginning(None, sheet=s), named) is not None), sheets[0]
            )
            notes.append(f"CHECK sheet: of {', '.join(sheets)} the first that names {named}")
        if (encoding := likely_encoding(self._opened().beginning())) == "utf-16":
            source["encoding"] = encoding
        source |= (head := header_of(self._beginning(encoding), named) or {})
        if line := int(head.get("skip_rows", 0)):
            notes.append(f"CHECK skip_rows: line {line + 1} names the columns; what is above it is left out")
        raw = self._in_some_encoding(encoding)
        if commas := comma_decimals(raw):
            source["decimal"] = ","
            raw = self.everything()
            notes.append(f"decimal: numbers are written with a comma in {', '.join(commas[:5])}")
        texts = [str(n) for n in raw if raw[n].dtype == object and n not in {self.ask.time, *self.ask.key}]
        marked = {n: m for n in texts if (m := marks_of(raw[n], source.get("decimal", "."))) is not None}
        if marked:
            source["marks"] = {name: list(marks.marks) for name, marks in marked.items()}
            raw = self.everything()
            notes += [f"CHECK marks: {name}: {marks.doubt}" for name, marks in marked.items() if marks.doubt]
        return raw

    def _beginning(self, encoding: str | None, **odd: Any) -> str:
        return self._opened(**odd).beginning().decode(encoding or "utf-8-sig", errors="replace")

    def _in_some_encoding(self, likely: str | None) -> pd.DataFrame:
        """Read CSV files as UTF-8, else in the likely encoding, else in one that fits any text of Western Europe."""
        first: SourceError | None = None
        for encoding in dict.fromkeys((None, likely, "cp1252", "latin-1")):
            try:
                raw = self._in_some_dialect({"encoding": encoding} if encoding else {})
            except SourceError as error:
                first = first or error
                if "encoding" not in str(first):
                    break
                continue
            self.notes += [f"encoding: the file is not UTF-8; {encoding} reads it"] if encoding else []
            return raw
        assert first is not None
        raise first

    def _in_some_dialect(self, more: Section) -> pd.DataFrame:
        """Read CSV files as usual, or with the settings that make them readable."""
        first: SourceError | None = None
        for odd in _DIALECTS:
            try:
                raw = self.everything(**more | odd)
            except SourceError as error:
                first = first or error
                if "CSV Error" not in str(error):
                    break
                continue
            self.source |= more | odd
            self.notes += ["CHECK pad: some lines have fewer values than there are columns"] if "pad" in odd else []
            return raw
        assert first is not None
        raise first

    def _opened(self, **odd: Any) -> FileTable:
        opened = open_source(self._config(**odd), self.configs)
        assert isinstance(opened, FileTable)
        return opened

    def _config(self, missing: Mapping[str, Sequence[str]] | None = None, **odd: Any) -> IngestConfig:
        ask, source = self.ask, self.source | odd
        if source["kind"] == "files" and "://" not in source["path"]:  # the folder of the configs may not be there yet
            source["path"] = os.path.normpath(self.configs.resolve() / source["path"])
        label = {"column": ask.label, "known_after": "0 days"}
        section = {"source": source, "time": ask.time, "timezone": ask.timezone, "key": [ask.time], "label": label}
        section |= {"missing": dict(missing)} if missing else {}
        return IngestConfig.model_validate(section)


def _source(option: Literal["data", "labels"], data: str, query: str | None, configs: Path) -> Section:
    """The section `source` for a path, an address, a database or a function that an option names."""
    if holds_secret(data, PERHAPS):
        raise UsageError(
            f"--{option}: contains a password or token, which would get into the config; write ${{NAME}} in its place and set "
            "NAME in the environment, or download the file"
        )
    if _DATABASE.match(data):
        if query is None:
            example = (
                "--query 'SELECT * FROM orders'" if option == "data" else "--labels-query 'SELECT * FROM outcomes'"
            )
            raise UsageError(f"--{option} is a database: choose what to read from it, as in {example}")
        return {"kind": "sql", "url": data, "query": query}
    if _FUNCTION.fullmatch(data):
        return {"kind": "callable", "function": data}
    path = data if "://" in data else os.path.relpath(Path(data).expanduser().resolve(), configs.resolve())
    return {"kind": "files", "path": path, **({"query": query} if query else {})}


def _time_notes(ask: Ask, times: Times) -> list[str]:
    """Remarks about the times."""
    notes = []
    if times.twin:
        notes.append(
            f"CHECK time: {times.formats[0]} and {times.twin} both read all of it; the first is in better order"
        )
    if times.unreadable:
        shown = ", ".join(map(repr, times.words or times.examples))
        notes.append(
            f"CHECK time: {times.unreadable:,} values such as {shown} are not times; their rows are left out, and counted"
        )
    if times.formats == ("days",):
        first, last = (times.moments.min(), times.moments.max())
        notes.append(
            f"CHECK time: {ask.time} counts and has no date; each step is read as a day, from {first:%Y-%m-%d} to {last:%Y-%m-%d}. "
            "Write `time_format: hours` if a step is an hour; convert anything else in a query"
        )
    if times.formats == ("excel",):
        notes.append("CHECK time: its numbers are read as the days of a spreadsheet")
    return notes


def _holds_json(column: pd.Series[Any]) -> bool:
    """Whether all of the first texts are JSON objects or lists."""
    texts = column.dropna().head(_WRITTEN)
    try:
        return len(texts) > 0 and all(isinstance(t, str) and isinstance(json.loads(t), dict | list) for t in texts)
    except (ValueError, RecursionError):
        return False


def _quoted(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
