"""The table that a new config is drafted for, read from wherever it lies and however it is written."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trueup.adapters.sources import open_source
from trueup.config.schema import IngestConfig
from trueup.domain.profile.ask import Ask, require_columns
from trueup.domain.profile.columns import comma_decimals, thousands
from trueup.domain.profile.times import Times, read_times
from trueup.errors import SourceError, UsageError

_FUNCTION = re.compile(r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")
_DATABASE = re.compile(
    r"^(sqlite|postgres(?:ql)?|mysql|mariadb|mssql|oracle|duckdb|snowflake|redshift|trino|bigquery)(\+\w+)?://"
)
_SECRET = re.compile(
    r"://[^:/@?#]*:(?!\$\{\w+\}@)[^@/]*@|[?&][^=&]*(?:pass|pwd|secret|token|sig|credential|key)[^=&]*=(?!\$\{)",
    re.IGNORECASE,
)
_ENCODINGS = ("cp1252", "latin-1")


@dataclass(frozen=True)
class Table:
    """What was read: each row once and with a time, and how a config says where it is."""

    rows: pd.DataFrame
    read: int  # rows, before those without a time and those that came twice were left out
    repeated: int
    times: Times
    source: dict[str, Any]
    outcomes: pd.DataFrame | None  # of a second source
    label_source: dict[str, Any] | None
    notes: tuple[str, ...]


def read_table(ask: Ask, configs: Path) -> Table:
    """Read the table, and the outcomes where they lie in a second one.

    Raises SourceError when they cannot be read, UsageError for columns that are not there and times that are none.
    """
    source, raw, notes = _read(ask, ask.data, ask.query, configs)
    label_source, outcomes = None, None
    if ask.labels is not None:
        label_source, outcomes, more = _read(ask, ask.labels, None, configs)
        notes += more
    require_columns(raw, [ask.time, *ask.key, *([] if label_source else [ask.label])], ask.data)
    rows, repeated = len(raw), int(raw.duplicated().sum())
    raw = raw.drop_duplicates(ignore_index=True)
    times = read_times(raw[ask.time], ask.timezone)
    if not times.moments.notna().any():
        raise UsageError(
            f"--time {ask.time}: holds {', '.join(map(repr, times.examples)) or 'nothing'}, which is no time; name another column"
        )
    source, more = _readable(ask, source, times, configs)
    raw = raw.assign(**{ask.time: times.moments})[times.moments.notna()].reset_index(drop=True)
    return Table(raw, rows, repeated, times, source, outcomes, label_source, tuple(notes + more))


def _read(ask: Ask, data: str, query: str | None, configs: Path) -> tuple[dict[str, Any], pd.DataFrame, list[str]]:
    """Read everything, in whatever encoding and with whatever decimal sign it was written."""
    source, notes = _source(data, query, configs), list[str]()
    try:
        raw = _everything(ask, source, configs)
    except SourceError as error:
        if source["kind"] != "files" or "encoding" not in str(error):
            raise
        raw, notes = _in_some_encoding(ask, source, configs, error)
    if source["kind"] == "files" and (commas := comma_decimals(raw)):
        source["decimal"] = ","
        raw = _everything(ask, source, configs)
        notes.append(f"decimal: numbers are written with a comma in {', '.join(commas[:5])}")
    if separated := thousands(raw):
        notes.append(
            f"CHECK: {', '.join(separated)}: numbers with commas between the thousands stay text; take them out in the query"
        )
    nested = [str(c) for c in raw if isinstance(next(iter(raw[c].dropna()), None), list | dict | set | np.ndarray)]
    if nested:
        notes.append(f"CHECK: {', '.join(nested)}: lists and structs are left out; take them apart in the query")
        raw = raw.drop(columns=nested)
    if raw.empty:
        raise UsageError(f"{data}: has no rows; give a table with some")
    return source, raw, notes


def _everything(ask: Ask, source: dict[str, Any], configs: Path) -> pd.DataFrame:
    return open_source(_reading(ask, source, configs), configs).everything()


def _reading(ask: Ask, source: dict[str, Any], configs: Path) -> IngestConfig:
    """As much of a config as reading needs."""
    if source["kind"] == "files" and "://" not in source["path"]:  # the folder of the configs may not be there yet
        source = {**source, "path": os.path.normpath(configs.resolve() / source["path"])}
    label = {"column": ask.label, "known_after": "0 days"}
    given = {"source": source, "time": ask.time, "timezone": ask.timezone, "key": [ask.time], "label": label}
    return IngestConfig.model_validate(given)


def _in_some_encoding(
    ask: Ask, source: dict[str, Any], configs: Path, first: SourceError
) -> tuple[pd.DataFrame, list[str]]:
    for encoding in _ENCODINGS:
        source["encoding"] = encoding
        try:
            return _everything(ask, source, configs), [f"encoding: the file is not UTF-8; {encoding} reads it"]
        except SourceError:
            continue
    raise first


def _source(data: str, query: str | None, configs: Path) -> dict[str, Any]:
    """The section `ingest.source` for a path, an address, a database or a function."""
    if _SECRET.search(data):
        raise UsageError(
            "--data: a password or token stands in it, and would stand in the config; write ${NAME} in its place and set "
            "NAME in the environment, or download the file"
        )
    if _DATABASE.match(data):
        if query is None:
            raise UsageError("--data is a database: say what to read from it, as in --query 'SELECT * FROM orders'")
        return {"kind": "sql", "url": data, "query": query}
    if _FUNCTION.fullmatch(data):
        return {"kind": "callable", "function": data}
    path = data if "://" in data else os.path.relpath(Path(data).expanduser().resolve(), configs.resolve())
    return {"kind": "files", "path": path, **({"query": query} if query else {})}


def _readable(ask: Ask, source: dict[str, Any], times: Times, configs: Path) -> tuple[dict[str, Any], list[str]]:
    """Let the source give times that can be read: by a query where one format does not do."""
    notes = []
    if times.twin:
        notes.append(
            f"CHECK time: {times.formats[0]} and {times.twin} both read all of it; the first is in better order"
        )
    if times.unreadable:
        notes.append(
            f"time: {times.unreadable:,} values such as {', '.join(map(repr, times.examples))} are no times; their rows are left out"
        )
    if times.plain or (len(times.formats) == 1 and not times.iso and not times.unreadable):
        return source, notes
    if source["kind"] != "files":
        raise UsageError(
            f"--time {ask.time}: is not ISO 8601 throughout; convert it in the query or function, then try again"
        )
    name, listed = '"' + ask.time.replace('"', '""') + '"', ", ".join(f"'{f}'" for f in times.formats)
    if times.unit is not None:
        as_time = {
            "day number": f"try_strptime(CAST({name} AS VARCHAR), '%Y%m%d')",
            "s": f"make_timestamp(CAST(CAST({name} AS DOUBLE) * 1000000 AS BIGINT))",
            "ms": f"make_timestamp(CAST({name} AS BIGINT) * 1000)",
        }[times.unit]
    else:
        kind = "TIMESTAMPTZ" if times.zoned else "TIMESTAMP"  # the other forgets the offset
        as_time = f"COALESCE(CAST(TRY_CAST({name} AS {kind}) AS TIMESTAMP){f', try_strptime({name}, [{listed}])' if listed else ''})"
    if times.formats and (times.iso or len(times.formats) > 1):
        ways = [*(["ISO 8601"] if times.iso else []), *times.formats]
        notes.append(f"CHECK time: written in {len(ways)} ways ({', '.join(ways)}); the query reads all of them")
    inner = source.get("query", "SELECT * FROM files").strip().rstrip(";")
    written = {**source, "query": f"SELECT * REPLACE ({as_time} AS {name}) FROM ({inner}\n) AS q"}
    _require_same(ask, written, times, configs)
    return written, notes


def _require_same(ask: Ask, source: dict[str, Any], times: Times, configs: Path) -> None:
    """Let the query that was written be read once: it must give the times that were found."""
    extent = open_source(_reading(ask, source, configs), configs).extent()
    known = times.moments.dropna()
    if extent is None or (pd.Timestamp(extent[0]), pd.Timestamp(extent[1])) != (known.min(), known.max()):
        raise UsageError(
            f"--time {ask.time}: no query was found that reads all of its forms; convert it with --query, as in "
            "SELECT * REPLACE (strptime(t, '%d/%m/%Y') AS t) FROM files"
        )
