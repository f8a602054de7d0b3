"""The SQL by which DuckDB reads CSV files, as text."""

from __future__ import annotations

import csv
import glob
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Final

from trueup.adapters.sources import csv_files
from trueup.adapters.sources.files import FilesSource
from trueup.adapters.sources.port import check_columns
from trueup.errors import SourceError

Header = tuple[str, tuple[str, ...]]  # delimiter, column names

_DELIMITERS: Final = ",;\t|"
_THOUSANDS: Final = {",": ",", ".": r"\.", "'": "['’]", " ": r"[ \x{00A0}\x{202F}]"}
_BRACKETS: Final = r"^([^()]*)\(([^()]*)\)([^()]*)$"
_NUMBER: Final = r"[+-]?(?:\d+(?:POINT\d*)?|POINT\d+)(?:[eE][+-]?\d+)?"


def literal(text: str) -> str:
    """Text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def csv_scan(files: Sequence[Path], source: FilesSource, file_column: str | None, place: str) -> tuple[str, list[str]]:
    """The SQL that reads CSV files as text, one after the other, and their columns.

    Files with the same header are read together. `file_column` names a further column, with the path of a row's file.
    """
    headers = {file: _header(file, source, place) for file in files}
    parts = []
    for (delimiter, names), group in groupby(files, key=headers.__getitem__):
        columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
        chosen = ", ".join(
            [_value(name, source) for name in names] + ([identifier(file_column)] if file_column else [])
        )
        named = f", filename = {literal(file_column)}" if file_column else ""
        parts.append(
            f"SELECT {chosen} FROM read_csv({paths(group)}, auto_detect = false, header = true, columns = {{{columns}}}, "
            f"delim = {literal(delimiter)}, quote = '\"', escape = {literal(source.escape)}, skip = {source.skip_rows}, "
            f"null_padding = {source.pad}, nullstr = ''{named})"
        )
    return " UNION ALL BY NAME ".join(parts), [name for _, names in headers.values() for name in names]


def paths(files: Iterator[Path] | Sequence[Path]) -> str:
    """A list of files in SQL, without patterns."""
    return f"[{', '.join(literal(glob.escape(str(file))) for file in files)}]"


def _header(file: Path, source: FilesSource, place: str) -> Header:
    """Read the line of column names; the delimiter is the one that splits it into most columns.

    DuckDB's `sniff_csv` is worse at this: in `a;b` above `1,5;2,5` it takes the numbers for names, it fails at lines of
    other lengths and at bytes that are not UTF-8, and it renames the second of two equal names.
    """
    with csv_files.opened(file, place) as stream:
        try:
            lines = islice(_lines(stream), source.skip_rows, None)
            record = "".join(_whole(lines, source.escape))
        except UnicodeDecodeError as error:
            raise csv_files.wrong_encoding(
                f"{place}: {file.name}, line {source.skip_rows + 1}", "utf-8", error
            ) from None
    delimiters = source.separator or _DELIMITERS
    split = [next(_reader([record], delimiter, source.escape), []) for delimiter in delimiters]
    best = max(range(len(split)), key=lambda i: len(split[i]))
    names = [_name(name) or f"column{position}" for position, name in enumerate(split[best])]
    if not names:
        raise SourceError(f"{place}: {file.name} is empty; a CSV begins with a line of column names")
    check_columns(names, [], f"{place}, {file.name}")
    return delimiters[best], tuple(names)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """A file's lines, decoded one by one: later ones may be in another encoding."""
    for number, part in enumerate(stream):
        text = part.decode("utf-8")
        yield from io.StringIO(text.removeprefix("\ufeff") if number == 0 else text, newline=None)


def _whole(lines: Iterator[str], escape: str) -> Iterator[str]:
    """Lines until no quotation mark is open."""
    marks = 0
    for line in lines:
        yield line
        marks += (line.replace('\\"', "") if escape != '"' else line).count('"')
        if marks % 2 == 0:
            return


def _reader(lines: Iterable[str], delimiter: str, escape: str) -> Iterator[list[str]]:
    backslash = escape != '"'
    return csv.reader(
        io.StringIO("".join(lines)),
        delimiter=delimiter,
        escapechar=escape if backslash else None,
        doublequote=not backslash,
    )


def _name(written: str) -> str:
    """A column's name, with a blank for each line feed in it, and without blanks around it."""
    return re.sub(r"\s*[\r\n]+\s*", " ", written).strip()


def _value(name: str, source: FilesSource) -> str:
    """The SQL of a column: numbers without their marks, and text without blanks around it."""
    column = identifier(name)
    if (marks := source.marks.get(name)) is not None:
        return f"{_number(column, marks, source.decimal)} AS {column}"
    return f"trim({column}) AS {column}" if source.trim else column


def _number(column: str, marks: Sequence[str], decimal: str) -> str:
    """The SQL that takes the marks out of a number; a value that is no number without them stays as it is."""
    text, point = f"trim({column}, ' \u00a0\u202f')", re.escape(decimal)
    negative = []
    if "()" in marks:
        negative.append(f"regexp_matches({text}, '{_BRACKETS}')")
        text = f"regexp_replace({text}, '{_BRACKETS}', '\\1\\2\\3')"
    if "-" in marks:
        negative.append(f"regexp_matches({text}, '\\d\\s*-$')")
        text = f"regexp_replace({text}, '(\\d)\\s*-$', '\\1')"
    for mark in (m for m in marks if m not in {"()", "-", *_THOUSANDS}):
        before, behind = (literal(form.format(re.escape(mark))) for form in (r"^([+-]?)\s*{}\s*", r"\s*{}\s*$"))
        text = f"regexp_replace(regexp_replace({text}, {before}, '\\1'), {behind}, '')"
    for mark in marks:
        if between := _THOUSANDS.get(mark):
            groups = literal(rf"^[+-]?\d{{1,3}}(?:{between}\d{{2,3}})*{between}\d{{3}}(?:{point}\d*)?$")
            text = f"CASE WHEN regexp_matches({text}, {groups}) THEN regexp_replace({text}, {literal(between)}, '', 'g') ELSE {text} END"
    number = literal("^" + _NUMBER.replace("POINT", point) + "$")
    signed = f"CASE WHEN {' OR '.join(negative)} THEN '-' || {text} ELSE {text} END" if negative else text
    return f"CASE WHEN regexp_matches({text}, {number}) THEN {signed} ELSE {column} END"
