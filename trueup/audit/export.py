"""Write the ledger to a file, for people and programs without access to its database."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from trueup import files
from trueup.errors import UsageError
from trueup.home import Home
from trueup.ledger.entries import Entry


def export(home: Home, file: Path, model: str | None = None) -> int:
    """Write all entries (of one model), oldest first; return their number.

    JSON Lines hold all that is hashed and signed, so the chain can be checked from them alone: `hashed` is the body's text
    as it went into the hash, `body` the same to read. CSV is a line a decision, for a spreadsheet. Raises UsageError for another ending.
    """
    if (write := _WRITERS.get(file.suffix)) is None:
        raise UsageError(f"{file}: not a form that the ledger is written in; name it .jsonl or .csv")
    entries = home.ledger.entries(model)
    text = io.StringIO(newline="")
    write(entries, text)
    files.write_text(file, text.getvalue())
    return len(entries)


def _json_lines(entries: Sequence[Entry], file: IO[str]) -> None:
    for e in entries:
        file.write(json.dumps(e.columns | {"body": json.loads(e.text), "hashed": e.text}, sort_keys=True) + "\n")


def _csv(entries: Sequence[Entry], file: IO[str]) -> None:
    columns = [*entries[0].columns, "version", "reason", "reasons"] if entries else []
    rows = csv.DictWriter(file, columns)
    rows.writeheader()
    for e in entries:
        facts = {"version": e.body.version, "reason": e.body.reason}
        rows.writerow(e.columns | facts | {"reasons": "; ".join(e.body.reasons)})


_WRITERS: dict[str, Callable[[Sequence[Entry], IO[str]], None]] = {".jsonl": _json_lines, ".csv": _csv}
