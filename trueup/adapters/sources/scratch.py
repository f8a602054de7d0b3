"""A folder of this process for copies of what it reads, removed when the process ends."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Hashable
from functools import cache
from pathlib import Path
from threading import Lock

_made: dict[Hashable, tuple[Hashable, Path]] = {}  # by what was copied: its state then, and the copy
_lock = Lock()


def copy_of(thing: Hashable, state: Hashable, name: str, make: Callable[[Path], None]) -> Path:
    """The copy of a thing in a state, with file name `name`, made by `make` once; the copy of an earlier state is removed."""
    thing = (os.getpid(), thing)
    with _lock:
        earlier, old = _made.get(thing, (None, None))
        if old is not None and earlier == state and old.exists():
            return old
        copy = Path(tempfile.mkdtemp(dir=_folder(os.getpid()))) / name
        try:
            make(copy)
        except BaseException:
            shutil.rmtree(copy.parent, ignore_errors=True)
            raise
        if old is not None:
            shutil.rmtree(old.parent, ignore_errors=True)
        _made[thing] = (state, copy)
        return copy


@cache
def _folder(process: int) -> Path:
    """Make the folder. A forked process has its own."""
    folder = Path(tempfile.mkdtemp(prefix="trueup-files-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder
