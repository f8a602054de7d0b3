"""Sheets of workbooks (Excel and OpenDocument), written as CSV."""

from __future__ import annotations

import csv
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from trueup.errors import SourceError

WORKBOOKS: Final = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def is_workbook(file: Path) -> bool:
    """Whether a file is a workbook, by its name."""
    return file.name.lower().endswith(WORKBOOKS)


def sheets_of(file: Path, source: str) -> list[str]:
    """The sheets that are not empty. Raises SourceError."""
    book = _open(file, source)
    return [name for name in book.sheet_names if book.get_sheet_by_name(name).height]


def write_sheet(file: Path, sheet: str | None, copy: Path, source: str) -> None:
    """Write a sheet as CSV; without a name, the only one. Raises SourceError."""
    names = sheets_of(file, source)
    if sheet is None and len(names) > 1:
        raise SourceError(
            f"{source}: {file.name} has {len(names)} sheets ({', '.join(names)}); name one with ingest.source.sheet"
        )
    if sheet is not None and sheet not in names:
        raise SourceError(
            f"{source}: ingest.source.sheet: {file.name} has no sheet {sheet} with something in it; it has {', '.join(names)}"
        )
    rows = _open(file, source).get_sheet_by_name(sheet or names[0]).to_python(skip_empty_area=False) if names else []
    with copy.open("w", encoding="utf-8", newline="") as written:
        csv.writer(written, lineterminator="\n").writerows(map(_text, row) for row in rows)


def _open(file: Path, source: str) -> Any:
    try:
        from python_calamine import CalamineWorkbook
    except ImportError as error:
        raise SourceError(
            f"{source}: {file.name} is a workbook, which the package python-calamine reads ({error}); install it, as with "
            "pip install python-calamine, or save the sheet as CSV"
        ) from None
    try:
        return CalamineWorkbook.from_path(str(file))
    except Exception as error:  # each kind of file has errors of its own
        raise SourceError(f"{source}: {file.name} cannot be read: {error}; save it anew, or as CSV") from None


def _text(cell: Any) -> str:
    """A cell as text: whole numbers without a fraction, times in ISO 8601."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() and abs(cell) < 2**63 else repr(cell)
    if isinstance(cell, datetime):
        return cell.isoformat(" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell.total_seconds())
    return str(cell)
