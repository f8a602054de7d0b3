"""The table of the source `files`, read through DuckDB.

A CSV file has no types, and guessing them from a sample fails silently: after twenty thousand whole
numbers in a column DuckDB reads 1.5 as 2, and after dates it drops the hour of a time. So a CSV is read as text, filtered by time,
and typed by *all* values that were read: whole numbers, numbers, booleans and ISO 8601 times if every value is one,
else text. One odd value in June does not change January. Numbers with leading zeros or too many digits stay text.
"""

from __future__ import annotations

import csv
import glob
import os
import re
import tempfile
from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from trueup.adapters.parquet import compact, to_pandas
from trueup.adapters.sources import csv_files, hive, lake, remote
from trueup.adapters.sources.csv_scan import csv_scan, identifier, literal, paths
from trueup.adapters.sources.csv_types import TYPES, cast_text
from trueup.adapters.sources.file_state import state_of
from trueup.adapters.sources.files import FilesSource
from trueup.adapters.sources.json_lines import JSON, json_scan
from trueup.adapters.sources.port import (
    TEXT_SLACK,
    SourcePort,
    check_columns,
    in_window,
    instants,
    span_by_day,
    span_by_time,
    with_instants,
)
from trueup.adapters.sources.workbook import is_workbook, sheets_of
from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.clock import FIRST, LAST, ROWS, Span
from trueup.domain.data.sentinels import are_sentinels, sentinels_of
from trueup.domain.data.time_formats import COUNTED_FROM, COUNTED_UNTIL, count_of, counts
from trueup.errors import SourceError

_PARQUET = (".parquet", ".pq")
_IN_FOLDERS = (*csv_files.IN_FOLDERS, *(e for e in JSON if not e.startswith(".json.") and e != ".json"), *_PARQUET)
_LOCAL_TIMES = {"DATE", "TIMESTAMP", "TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S"}
_ZONED_TIMES = {"TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"}
_WHOLE = {"BIGINT", "INTEGER", "UINTEGER", "UBIGINT", "HUGEINT"}
_FRACTIONS = ("DOUBLE", "FLOAT", "DECIMAL")
_BEGINNING = 1 << 18  # bytes that show a CSV's dialect
_SPILL = Path(tempfile.gettempdir()) / f"trueup-duckdb-{os.getuid()}"  # otherwise a folder .tmp in the current folder
_OPTIONS = {
    "threads": 2,
    "autoinstall_known_extensions": False,  # do not fetch from the network
    "autoload_known_extensions": False,
    "python_enable_replacements": False,  # a query sees the files, not Python variables
    "temp_directory": str(_SPILL),
}

# Parts of a time format that DuckDB reads like Python; with others it does not filter.
_SAME_IN_DUCKDB = re.compile(r"(?:[^%]|%[aAbBdfHIjmMpSyYz%])*")

T = TypeVar("T")

_POSITION = "trueup position"


class FileTable(SourcePort):
    """Files of one table: columns are matched by name, and a column that some files lack is missing there."""

    def __init__(self, source: FilesSource, config: IngestConfig, root: Path) -> None:
        self.name = f"files {remote.shown(source.path)}"
        self._source = source
        self._config = config
        self._query = source.query.strip().rstrip(";") if source.query is not None else "SELECT * FROM files"
        self._has_query = source.query is not None
        self._root, self._pattern = root, root / source.path
        # Text that the time format applies to stays text.
        known_at = config.label.known_at if config.time_format is not None else None
        self._times = [name for name in (config.time, known_at) if name is not None]
        self._text = [name for name, kind in config.types.items() if kind == "text"]  # as written in a CSV
        self._types_seen: dict[tuple[Any, ...], dict[str, str]] = {}  # by state of the files: types of columns

    def columns(self) -> list[str]:
        return self._ask(lambda connection, _: list(self._types(connection)))

    def beginning(self) -> bytes:
        """The unpacked beginning of the first file's text; empty if the files are not CSV. Raises SourceError."""
        if self._lake() is not None or _kind(file := self._located()[0][0].copy) != "CSV":
            return b""
        if is_workbook(file):
            file = csv_files.plain(file, self._source.encoding, self.name, self._source.sheet)
        with csv_files.opened(file, self.name) as stream:
            return stream.read(_BEGINNING)

    def sheets(self) -> list[str]:
        """The sheets of the first file that are not empty; none where it is no workbook. Raises SourceError."""
        file = None if self._lake() is not None else self._located()[0][0].copy
        return sheets_of(file, self.name) if file is not None and is_workbook(file) else []

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, text: Collection[str] = ()
    ) -> pd.DataFrame:
        time = self._config.time

        def select(connection: duckdb.DuckDBPyConnection, is_csv: bool) -> tuple[pa.Table, bool]:
            types = self._types(connection, [time, *(columns or ())])
            wanted = list(types) if columns is None else list(dict.fromkeys([time, *columns]))
            query = f"SELECT {', '.join(map(identifier, wanted))} FROM ({self._query}\n) AS q WHERE {self._inside(types[time])}"
            return connection.sql(query, params=self._bounds(types[time], start, end)).to_arrow_table(), is_csv

        table, is_csv = self._ask(select, text)
        if is_csv:
            # Exactly the window's rows choose a column's type: a neighbour's odd value must not change it.
            moments = pd.DataFrame({time: table[time].to_pandas(), _POSITION: range(len(table))})
            inside = in_window(moments, self._config, start, end, self.name)
            decide = inside[time].notna().to_numpy()
            table = self._typed(table.take(inside[_POSITION].to_numpy()), [*self._times, *text], decide)
        rows = in_window(to_pandas(compact(table, leave=[time])), self._config, start, end, self.name)
        return rows if columns is None else rows[list(columns)]

    def everything(self, columns: Sequence[str] | None = None) -> pd.DataFrame:

        def select(connection: duckdb.DuckDBPyConnection, is_csv: bool) -> tuple[pa.Table, bool]:
            wanted = [name for name in self._types(connection, columns or ()) if columns is None or name in columns]
            query = f"SELECT {', '.join(map(identifier, wanted))} FROM ({self._query}\n) AS q"
            return connection.sql(query).to_arrow_table(), is_csv

        table, is_csv = self._ask(select)
        if not is_csv:
            return to_pandas(table)
        typed = to_pandas(self._typed(table, self._times[1:], self._timed(table)))
        return with_instants(typed, table, self._config, self.name)

    def _timed(self, table: pa.Table) -> npt.NDArray[np.bool_] | None:
        """Mark the rows with a time: only these choose the types of a CSV's columns, and no line of totals does."""
        if self._config.time not in table.column_names:
            return None
        times = table[self._config.time].to_pandas()
        timed: npt.NDArray[np.bool_] = times.notna().to_numpy()
        return timed & ~are_sentinels(times, sentinels_of(self._config.time, self._config))

    def _timed_rows(self, names: Sequence[str]) -> str:
        """The same in SQL."""
        if self._config.time not in names:
            return "true"
        none = ", ".join(literal(str(value)) for value in sentinels_of(self._config.time, self._config))
        time = identifier(self._config.time)
        return f"{time} IS NOT NULL" + (f" AND trim({time}) NOT IN ({none})" if none else "")

    def _typed(self, table: pa.Table, leave: Sequence[str], decide: npt.NDArray[np.bool_] | None) -> pa.Table:
        return cast_text(table, [*leave, *self._text], self._config.timezone, self._source.decimal, decide)

    def state(self) -> str | None:
        # A query may depend on the day, and files elsewhere may have no reliable times.
        if self._has_query or remote.is_address(self._source.path) or self._lake() is not None:
            return None
        return state_of(self._local())

    def span(self) -> Span | None:
        """Count the rows of each day; for text, those of each distinct time."""
        time = identifier(self._config.time)

        def times(connection: duckdb.DuckDBPyConnection, _: bool) -> tuple[pa.Table, bool]:
            text = self._time_type(self._types(connection, [self._config.time])[self._config.time]) == "VARCHAR"
            by = time if text else f"CAST({time} AS DATE)"
            counted = f"min({time}) AS {FIRST}, max({time}) AS {LAST}, count(*) AS {ROWS}"
            query = f"SELECT {counted} FROM ({self._query}\n) AS q WHERE {time} IS NOT NULL GROUP BY {by}"
            return connection.sql(query).to_arrow_table(), text

        table, text = self._ask(times)
        days = to_pandas(table)
        if text:
            return span_by_time(days[FIRST], days[ROWS], self._config, self.name)
        return span_by_day(days, self._config, self.name)

    def _inside(self, kind: str) -> str:
        """Filter on the window, or slightly more: `in_window` is exact. Rows without a time stay."""
        time, form = identifier(self._config.time), self._config.time_format
        if counts(form):
            number = f"TRY_CAST({time} AS DOUBLE)"
            odd = (
                f"{number} IS NULL OR {number} < $least OR {number} >= $most"  # refused later, as text that is no time
            )
            return f"{odd} OR ({number} >= $start AND {number} < $end)"
        if self._time_type(kind) != "VARCHAR":
            cast = f"::{kind}" if kind in _ZONED_TIMES else ""  # DuckDB compares zoned times of equal precision only
            return f"{time} IS NULL OR ({time} >= $start{cast} AND {time} < $end{cast})"
        day = f"left({time}, 10)"
        if form is not None:
            day = (
                f"strftime(TRY_CAST(try_strptime(trim(CAST({time} AS VARCHAR)), {literal(form)}) AS DATE), '%Y-%m-%d')"
            )
            day = day if _SAME_IN_DUCKDB.fullmatch(form) else "NULL"
        return f"TRY_CAST({day} AS DATE) IS NULL OR ({day} >= $start AND {day} < $end)"

    def _bounds(self, kind: str, start: datetime, end: datetime) -> dict[str, datetime | str | float]:
        if (form := self._config.time_format) is not None and counts(form):
            moments = {
                "start": start - TEXT_SLACK,
                "end": end + TEXT_SLACK,
                "least": COUNTED_FROM,
                "most": COUNTED_UNTIL,
            }
            return {name: count_of(moment, form) for name, moment in moments.items()}
        kind = self._time_type(kind)
        if kind == "VARCHAR":
            return {"start": f"{start - TEXT_SLACK:%Y-%m-%d}", "end": f"{end + TEXT_SLACK:%Y-%m-%d}"}
        if kind in _ZONED_TIMES:
            start, end = instants(start, end, self._config.timezone)
        return {"start": start, "end": end}

    def _time_type(self, kind: str) -> str:
        form = self._config.time_format
        if form is not None and (kind in _WHOLE or (counts(form) and kind.startswith(_FRACTIONS))):
            return "VARCHAR"  # 20130131 in the format %Y%m%d
        if kind not in _LOCAL_TIMES | _ZONED_TIMES | {"VARCHAR"}:
            raise SourceError(
                f"{self.name}: ingest.time: '{self._config.time}' holds {kind} and not times; name another column, "
                "or make one in ingest.source.query, as in SELECT *, make_timestamp(year, month, day, hour, 0, 0) AS time"
            )
        return kind

    def _types(self, connection: duckdb.DuckDBPyConnection, needed: Sequence[str] = ()) -> dict[str, str]:
        """The type of each column of the query."""
        relation = connection.sql(self._query)
        try:
            check_columns(relation.columns, needed, self.name)
        except SourceError as error:
            if self._has_query or self._config.time in relation.columns or not self.beginning():
                raise
            further = "if the line of column names is further down in the file, skip the lines above it with ingest.source.skip_rows"
            raise SourceError(f"{error}; {further}") from None
        return dict(zip(relation.columns, map(str, relation.types), strict=True))

    def _ask(self, question: Callable[[duckdb.DuckDBPyConnection, bool], T], text: Collection[str] = ()) -> T:
        """Answer a question about the view `files`; its second argument is whether they are CSV. Raises SourceError.

        The error is raised outside of the handler: DuckDB prints pages at the end of a process in which one of its objects
        is still held, if only by a frame of an error's traceback.
        """
        interrupted, message, kind = False, "", SourceError
        try:
            return self._answer(question, text)
        except SourceError as error:
            message = str(error)
            kind = type(error)
        except (duckdb.Error, pa.ArrowException, OSError, csv.Error) as error:
            message, kind = self._explained(str(error)), SourceError
        except RuntimeError as error:
            if "interrupted" not in str(error):
                raise
            interrupted = True  # Ctrl-C within DuckDB
        if interrupted:
            raise KeyboardInterrupt
        raise kind(message)

    def _explained(self, error: str) -> str:
        """An error of DuckDB or of the disk in one line, with its file."""
        reason = " ".join(error.split("\nPossible")[0].split())
        file = re.search(r"^ *file = (.+)$", error, re.MULTILINE)
        of = f", {Path(file[1].strip()).name}" if file else ""
        mend = "correct the file or ingest.source.query"
        if "Expected Number of Columns" in error or "unterminated quote" in error:
            mend = (
                "correct the file, or describe its format: ingest.source.skip_rows for titles above the column names, "
                "ingest.source.pad for shorter lines, ingest.source.escape for a backslash before quotation marks"
            )
        if "not utf-8 encoded" in error:
            mend = "set the encoding, such as `ingest.source.encoding: cp1252`, or convert the file"
        return f"{self.name}{of}: cannot be read: {reason}; {mend}"

    def _answer(self, question: Callable[[duckdb.DuckDBPyConnection, bool], T], text: Collection[str]) -> T:
        if (kind := self._lake()) is not None:
            table = lake.read_lake(self._pattern, kind, self.name)
            with duckdb.connect(config=_OPTIONS) as connection:
                connection.execute(f"SET TimeZone = {literal(self._config.timezone)}")
                connection.register("files", table)
                return question(connection, False)
        located, is_csv = self._located()
        source, files = self._source, [f.copy for f in located]
        files = [csv_files.plain(f, source.encoding, self.name, source.sheet) for f in files] if is_csv else files
        pattern = remote.path_of(source.path) if remote.is_address(source.path) else self._pattern
        values = [hive.values_of(file.there, pattern) for file in located]
        with duckdb.connect(config=_OPTIONS) as connection:
            connection.execute(f"SET TimeZone = {literal(self._config.timezone)}")
            scan, names = self._scan(connection, files, hive.FILE if any(values) else None)
            if any(values):
                connection.register(hive.FOLDERS, hive.folders(files, values, names))
                scan = hive.JOINED.format(scan=scan)
            typed = is_csv and self._has_query
            connection.execute(f"CREATE TEMP VIEW {'files_as_text' if typed else 'files'} AS {scan}")
            if typed:
                connection.execute(
                    f"CREATE TEMP VIEW files AS {self._typed_view(connection, files, {*self._text, *text})}"
                )
            return question(connection, is_csv)

    def _located(self) -> tuple[list[remote.Fetched], bool]:
        """The files, sorted by name, all of one kind, and whether their values are text: CSV, sheets and JSON."""
        address = remote.is_address(self._source.path)
        files = self._fetched() if address else [remote.Fetched(file, file) for file in self._local()]
        kinds = {_kind(file.copy) for file in files}
        if len(kinds) > 1 or None in kinds:
            raise SourceError(
                f"{self.name}: {len(files)} files that are not all CSV (.csv, .tsv or .txt, also .gz, .bz2, .xz, .zst or "
                ".zip), workbooks (.xlsx, .xls, .ods), JSON (.jsonl, .ndjson, .json) or Parquet (.parquet, .pq); name one "
                "kind with a pattern such as data/*.csv"
            )
        return files, kinds != {"Parquet"}

    def _lake(self) -> str | None:
        """The table format of the folder; None for plain files."""
        return None if remote.is_address(self._source.path) else lake.kind_of(self._pattern)

    def _local(self) -> list[Path]:
        pattern = self._pattern
        if pattern.is_dir():
            matching = [f for f in pattern.iterdir() if f.name.lower().endswith(_IN_FOLDERS)]
            matching = matching or hive.nested_in(pattern, _IN_FOLDERS)
        elif pattern.is_file():
            matching = [pattern]
        else:
            root = glob.escape(str(self._root))  # only the config's path is a pattern
            matching = [Path(f) for f in glob.glob(str(Path(root, self._source.path)), recursive=True)]  # noqa: PTH207
        files = sorted(f for f in matching if f.is_file() and not f.name.startswith((".", "_")))
        if not files:
            what = (
                "the folder holds no CSV, CSV.gz, JSON Lines, Excel or Parquet file"
                if pattern.is_dir()
                else "there is no such file"
            )
            raise SourceError(f"{self.name}: {what}: {pattern}; correct ingest.source.path or put the data there")
        lake.refuse_parts(files, self.name)
        for file in files:
            if _kind(file) != "Parquet":
                csv_files.wait_until_whole(file, self.name)
        return files

    def _fetched(self) -> list[remote.Fetched]:
        files = remote.fetch(self._source.path, _IN_FOLDERS, self.name)
        if not files:
            raise SourceError(f"{self.name}: there is no such file; correct ingest.source.path or put the data there")
        return files

    def _scan(
        self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path], file_column: str | None
    ) -> tuple[str, list[str]]:
        """The SQL that reads files, and their columns; `file_column` names one more, with the path of a row's file."""
        if _kind(files[0]) == "JSON":
            return json_scan(connection, files, file_column, self.name)
        if _kind(files[0]) == "CSV":
            return csv_scan(files, self._source, file_column, self.name)
        names = [pq.read_schema(file).names for file in files]
        for file, own in zip(files, names, strict=True):
            check_columns(own, [], f"{self.name}, {file.name}")
        named = f", filename = {literal(file_column)}" if file_column else ""
        scan = f"SELECT * FROM read_parquet({paths(files)}, union_by_name = true, hive_partitioning = false{named})"
        return scan, [name for own in names for name in own]

    def _typed_view(self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path], text: Collection[str]) -> str:
        """The view that a query reads: columns have the types that all values agree on; times stay ISO 8601 text."""
        state = (*((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files), *sorted(text))
        if state not in self._types_seen:
            names = connection.sql("SELECT * FROM files_as_text").columns
            types = TYPES[self._source.decimal]
            checks = [
                f"bool_and({t.holds(identifier(n))}) FILTER ({identifier(n)} IS NOT NULL)" for n in names for t in types
            ]
            timed = self._timed_rows(names)
            fits = connection.sql(f"SELECT {', '.join(checks)} FROM files_as_text WHERE {timed}").fetchall()[0]
            kinds = [fits[i : i + len(types)] for i in range(0, len(fits), len(types))]
            chosen = (
                next((t for t, ok in zip(types, kind, strict=True) if ok and (t.exact or n not in text)), None)
                for n, kind in zip(names, kinds, strict=True)
            )
            self._types_seen = {
                state: {n: t.cast(n) if t else n for n, t in zip(map(identifier, names), chosen, strict=True)}
            }
        columns = (f"{cast} AS {name}" for name, cast in self._types_seen[state].items())
        return f"SELECT {', '.join(columns)} FROM files_as_text"


def _kind(file: Path) -> str | None:
    """How a file is read, by its name: as CSV (sheets too), JSON or Parquet; None for others."""
    name = file.name.lower()
    kinds = {"CSV": csv_files.CSV, "JSON": JSON, "Parquet": _PARQUET}
    return next((kind for kind, endings in kinds.items() if name.endswith(endings)), None)
