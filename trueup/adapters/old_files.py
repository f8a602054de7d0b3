"""Lists and removes files by age."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path


def older(files: Iterable[Path], before: datetime) -> list[Path]:
    """The files that were written before a moment with an offset, in order of their paths."""
    limit = before.timestamp()
    return sorted(f for f in files if (written := _written(f)) is not None and written < limit)


def remove(files: Iterable[Path], dry_run: bool = False) -> tuple[int, int]:
    """Remove files, or with `dry_run` only count them. Returns the number and bytes of those that existed."""
    sizes = list(_removed(files, dry_run))
    return len(sizes), sum(sizes)


def _removed(files: Iterable[Path], dry_run: bool) -> Iterator[int]:
    for file in files:
        with suppress(FileNotFoundError):
            size = file.stat().st_size
            if not dry_run:
                file.unlink()
            yield size


def _written(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except FileNotFoundError:  # moved or removed since it was listed
        return None
