"""Copies the files of a home to another place, and compares each with its source by SHA-256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from trueup.adapters.files import belonging
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.files.port import Entry, Files
from trueup.config.settings import Settings
from trueup.crash import reach
from trueup.errors import WorkError
from trueup.home import Home
from trueup.ledger.signing import KEY_FILE
from trueup.upkeep.backup import copy_home

# Folders that all machines of a home share. The rest belongs to one machine.
SHARED: Final = (
    "batches", "quarantine", "features", "evaluations", "recorded", "predictions", "served", "reports", "evidently", "mlartifacts",
)  # fmt: skip
_OF_A_BUCKET: Final = ("copies",)  # in its part on this machine
_BLOCK: Final = 8 << 20  # bytes


def copy_files(home: Home, new: Settings, fresh: Path) -> tuple[int, int]:
    """Copy a home in which nothing is at work: shared files to the new home's place, the rest to the folder `fresh`.

    `fresh` becomes the new home, or its part on this machine. Returns the number of files and their bytes. Raises
    WorkError if a copy is not equal, OSError.
    """
    old, buckets = home.settings.address is not None, new.address is not None
    fresh.mkdir(parents=True)
    if not old and not buckets:
        copy_home(home.root, fresh)
        return _compared(home.root, fresh)
    without = (*SHARED, *(_OF_A_BUCKET if old else (KEY_FILE, "home.id")))
    copy_home(home.root, fresh, without)
    count, size = _compared(home.root, fresh)
    there = Home(new).files if buckets else LocalFiles(fresh)
    more, bytes_ = _copied(home.files, there, _shared(home))
    return count + more, size + bytes_


def _shared(home: Home) -> list[Entry]:
    """The files that all machines share; in an object store that is all but the file that joins it with its database."""
    if home.settings.address is not None:
        return sorted((e for e in home.files.listed("") if e.key != belonging.KEY), key=lambda e: e.key)
    found = (entry for folder in SHARED for entry in home.files.listed(folder))
    return sorted((e for e in found if not e.name.endswith((".lock", ".tmp"))), key=lambda e: e.key)


def _copied(source: Files, target: Files, entries: Iterable[Entry]) -> tuple[int, int]:
    left = {entry.key: entry for entry in target.listed("")} if not isinstance(target, LocalFiles) else {}
    count = size = 0
    for entry in entries:
        there = left.pop(entry.key, None)
        if there is None or there.size != entry.size or _digest(target, entry.key) != _digest(source, entry.key):
            _copy(source, target, entry.key)
        count, size = count + 1, size + entry.size
        reach("move.file")
    for key in left:  # an earlier try copied it, and it is gone since
        target.delete(key)
    return count, size


def _copy(source: Files, target: Files, key: str) -> None:
    read = hashlib.sha256()
    with target.writing(key) as copy:
        for block in _blocks(source, key):
            read.update(block)
            copy.write(block)
    if _digest(target, key) != read.hexdigest():
        raise WorkError(
            f"{target.where(key)} is not equal to {source.where(key)}; check the disk and the network, and run again"
        )


def _compared(old: Path, fresh: Path) -> tuple[int, int]:
    """The number and bytes of copied files but databases, which are compared row by row through the ledger."""
    count = size = 0
    for copy in sorted(file for file in fresh.rglob("*") if file.is_file() and file.suffix != ".db"):
        if _digest_of(copy) != _digest_of(old / copy.relative_to(fresh)):
            raise WorkError(f"{copy} is not equal to the old file; check the disk, and run again")
        count, size = count + 1, size + copy.stat().st_size
        reach("move.file")
    return count, size


def _digest(files: Files, key: str) -> str:
    digest = hashlib.sha256()
    for block in _blocks(files, key):
        digest.update(block)
    return digest.hexdigest()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _blocks(files: Files, key: str) -> Iterator[bytes]:
    with files.opened(key, fresh=True) as file:
        while block := file.read(_BLOCK):
            yield block
