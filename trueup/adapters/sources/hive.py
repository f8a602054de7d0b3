"""Folders such as `year=2024/month=01`: their names become columns if the files have no column of that name."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final
from urllib.parse import unquote

import pyarrow as pa

from trueup.domain.data.patterns import NO_NUMBER, WHOLE

FILE: Final = "trueup file"  # a column with the path of a row's file, within a query
FOLDERS: Final = "trueup folders"
JOINED: Final = (
    f'SELECT s.* EXCLUDE ("{FILE}"), f.* EXCLUDE ("{FILE}") FROM ({{scan}}) AS s JOIN "{FOLDERS}" AS f USING ("{FILE}")'
)
_NOTHING: Final = "__HIVE_DEFAULT_PARTITION__"
_PATTERN: Final = re.compile(r"[*?\[]")

Values = Mapping[str, str | None]


def nested_in(folder: Path, endings: tuple[str, ...]) -> list[Path]:
    """The files in folders of the form `name=value` below a folder."""
    files = list[Path]()
    for below in sorted(folder.iterdir()):
        if below.is_dir() and "=" in below.name and not below.name.startswith((".", "_")):
            files += [f for f in below.iterdir() if f.is_file() and f.name.lower().endswith(endings)]
            files += nested_in(below, endings)
    return files


def values_of(file: PurePath, pattern: PurePath) -> Values:
    """The values in the names of the folders between a pattern's fixed beginning and a file.

    >>> values_of(Path("/data/o/year=2024/shop=a%20b/x.parquet"), Path("/data/o/*/*/x.parquet"))
    {'year': '2024', 'shop': 'a b'}
    """
    fixed = 0
    for part in pattern.parts:
        if _PATTERN.search(part):
            break
        fixed += 1
    parts = [part.split("=", 1) for part in file.parts[fixed:-1] if "=" in part]
    return {unquote(name): None if value == _NOTHING else unquote(value) for name, value in parts}


def folders(files: Sequence[Path], values: Sequence[Values], columns: Collection[str]) -> pa.Table:
    """Per file the values of its folders that are no columns of the files: whole numbers, or text."""
    have = {column.casefold() for column in columns}
    names = dict.fromkeys(name for each in values for name in each if name.casefold() not in have)
    return pa.table({FILE: list(map(str, files))} | {n: _typed([each.get(n) for each in values]) for n in names})


def _typed(values: list[str | None]) -> Any:
    present = [value for value in values if value is not None]
    whole = bool(present) and all(re.search(WHOLE, v) and not re.search(NO_NUMBER, v) for v in present)
    return pa.array(
        [None if v is None else int(v) for v in values] if whole else values, pa.int64() if whole else pa.string()
    )
