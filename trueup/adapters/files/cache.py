"""Copies of files on this machine, so that a file of an object store is fetched once.

A copy's name has the digest of its content, which is checked at the first use in each process: a damaged copy is fetched
again. The folder is bounded; the copies that were not used for longest go first.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

_AT_WORK = 86_400.0  # seconds in which a process may still need what it made
_LEFT = 0.9  # share of the limit that a clearing leaves, so that not every further copy clears again


class Cache:
    """Copies by key and state; a copy in another state (the file was written again) does not count."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit  # bytes
        self._checked = set[tuple[int, int]]()  # copies that this process found to be right
        self._added: int | None = None  # bytes in the folder as far as this process knows; None: not counted yet

    def get(self, key: str, state: str = "") -> Path | None:
        """The copy of a file, or None. It may be removed at any time, see `held`."""
        for path in self._copies(key, state):
            try:
                found = path.stat()
                if (found.st_ino, found.st_size) not in self._checked:
                    if _digest(path) != path.name.partition("-")[0]:
                        path.unlink(missing_ok=True)
                        continue
                    self._checked.add((found.st_ino, found.st_size))
                os.utime(path)
            except FileNotFoundError:
                continue
            return path
        return None

    def keep(self, key: str, content: Path, state: str = "") -> None:
        """Take a file over as the copy of a key, in the place of earlier ones. The file is gone afterwards."""
        place = self._place(key)
        copy = place / f"{_digest(content)}-{state}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            size = content.stat().st_size
            content.replace(copy)
        except OSError:  # a full disk, or one that may not be written: the next reader fetches again
            content.unlink(missing_ok=True)
            return
        for other in place.iterdir():
            if other != copy:
                other.unlink(missing_ok=True)
        self._added = None if self._added is None else self._added + size
        self._clear()

    def forget(self, key: str) -> None:
        """Remove the copies of a key."""
        for copy in self._copies(key, None):
            copy.unlink(missing_ok=True)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """For the block, a path for a new file on the disk of the copies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f".{uuid4().hex}.tmp"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @contextmanager
    def held(self, copy: Path) -> Iterator[Path]:
        """For the block, a second name of a copy, which no clearing removes. Raises FileNotFoundError if it went already."""
        with TemporaryDirectory(prefix=".held-", dir=self.folder) as folder:
            there = Path(folder) / "file"
            try:
                there.hardlink_to(copy)
            except FileNotFoundError:
                raise
            except OSError:  # the disk has no links
                shutil.copyfile(copy, there)
            yield there

    def _copies(self, key: str, state: str | None) -> list[Path]:
        try:
            copies = list(self._place(key).iterdir())
        except FileNotFoundError:
            return []
        return [copy for copy in copies if state is None or copy.name.partition("-")[2] == state]

    def _place(self, key: str) -> Path:
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / name[2:40]

    def _clear(self) -> None:
        """Remove what was not used for longest, if there is too much. Other processes add copies, too, so it counts anew."""
        if self._added is not None and self._added <= self.limit:
            return
        self._sweep()
        found = list[tuple[float, int, Path]]()
        for path in self.folder.glob("??/*/*"):
            with suppress(FileNotFoundError):
                of = path.stat()
                found.append((of.st_mtime, of.st_size, path))
        total = sum(size for _, size, _ in found)
        if total > self.limit:
            for _, size, path in sorted(found):
                if total <= self.limit * _LEFT:
                    break
                path.unlink(missing_ok=True)
                total -= size
        self._added = total

    def _sweep(self) -> None:
        """Remove what killed processes left."""
        for left in self.folder.glob(".*"):
            with suppress(OSError):
                if left.stat().st_mtime < time.time() - _AT_WORK:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
