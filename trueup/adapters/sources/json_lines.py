"""JSON Lines, and JSON files with a list of objects: read as text, and typed like CSV files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from trueup.adapters.sources.csv_files import PACKED
from trueup.adapters.sources.csv_scan import identifier, literal, paths
from trueup.errors import SourceError

JSON: Final = tuple(f"{kind}{packed}" for kind in (".jsonl", ".ndjson", ".json") for packed in PACKED)


def json_scan(connection: Any, files: Sequence[Path], file_column: str | None, place: str) -> tuple[str, list[str]]:
    """The SQL that reads objects as columns of text, and the columns. Objects within objects are JSON."""
    query = f"SELECT DISTINCT json_keys(json) FROM read_json_objects({paths(files)}, format = 'auto')"
    lists = sorted((keys for (keys,) in connection.sql(query).fetchall() if keys), key=lambda keys: (-len(keys), keys))
    names = list(dict.fromkeys(name for keys in lists for name in keys))
    if not names:
        raise SourceError(f"{place}: there is no JSON object with a name in it; write one object a line")
    columns = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in names)
    chosen = ", ".join(
        [f"nullif({identifier(n)}, '') AS {identifier(n)}" for n in names]
        + ([identifier(file_column)] if file_column else [])
    )
    named = f", filename = {literal(file_column)}" if file_column else ""
    return f"SELECT {chosen} FROM read_json({paths(files)}, format = 'auto', columns = {{{columns}}}{named})", names
