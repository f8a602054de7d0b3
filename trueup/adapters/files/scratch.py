"""Files that libraries write to a folder of this machine, shared with the machines of the same home.

Reports are drawn into the home's part on this machine, under the keys that they have in the home's files. A folder of
this machine that is the home itself needs none of this.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Protocol

from trueup.adapters.files.port import Entry, Files

_OWN = (".lock", ".tmp")  # endings of what belongs to one machine, or is not complete
_JUST_WRITTEN = 3600.0  # seconds in which another process of this machine shares what it wrote

State = dict[Path, tuple[int, int]]  # time in nanoseconds, and size


class Scratch(Protocol):
    """The part of a home on this machine."""

    def sharing(self, places: Sequence[Path], fetch: bool = False) -> AbstractContextManager[None]:
        """Share what the block changes in files or folders, also what it removes there.

        With `fetch` they begin as they are in the home, also with what other machines put there. Raises WorkError.
        """

    def fetch(self, place: Path) -> None:
        """Make a file or folder of this machine what it is in the home. Raises WorkError."""


class Unshared:
    """A home in a folder: what is written is in the home already."""

    def sharing(self, places: Sequence[Path], fetch: bool = False) -> AbstractContextManager[None]:  # noqa: ARG002
        return nullcontext()

    def fetch(self, place: Path) -> None:
        pass


class Shared:
    """A home elsewhere, with a part on this machine below `root`; see `Scratch`."""

    def __init__(self, files: Files, root: Path) -> None:
        self._files = files
        self._root = root

    @contextmanager
    def sharing(self, places: Sequence[Path], fetch: bool = False) -> Iterator[None]:
        if fetch:
            for place in places:
                self.fetch(place)
        before = _state(places)
        yield
        after = _state(places)
        for path in after.keys() - {path for path, state in before.items() if after.get(path) == state}:
            with self._files.writing(self._key(path), durable=False) as there, path.open("rb") as here:
                shutil.copyfileobj(here, there)
        for path in before.keys() - after.keys():
            self._files.delete(self._key(path))

    def fetch(self, place: Path) -> None:
        key = self._key(place)
        found = {self._root / entry.key: entry for entry in self._files.listed(key)}
        if not found and self._files.exists(key):
            self._take(place, key)
            return
        for path, entry in found.items():
            if not _is_current(path, entry):
                self._take(path, entry.key)
                moment = entry.written.timestamp()
                os.utime(path, (moment, moment))
        youngest = time.time() - _JUST_WRITTEN
        for path in _state([place]).keys() - found.keys():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < youngest:
                    path.unlink()

    def _take(self, path: Path, key: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._files.local(key) as copy:
                shutil.copyfile(copy, fresh := path.with_name(f".{path.name}.{os.getpid()}.tmp"))
            fresh.replace(path)
        except FileNotFoundError:  # removed since it was listed
            path.unlink(missing_ok=True)

    def _key(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _is_current(path: Path, entry: Entry) -> bool:
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    return found.st_size == entry.size and found.st_mtime >= entry.written.timestamp()


def _state(places: Sequence[Path]) -> State:
    """The files below some places, without those of one machine only."""
    state: State = {}
    for path in (file for place in places for file in ([place] if place.is_file() else place.rglob("*"))):
        with suppress(FileNotFoundError):
            if path.is_file() and not path.name.endswith(_OWN):
                found = path.stat()
                state[path] = found.st_mtime_ns, found.st_size
    return state
