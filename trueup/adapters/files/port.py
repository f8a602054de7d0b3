"""The port of a home's files. Keys are relative POSIX paths, as the database records them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Entry:
    """A file as listed: its size in bytes, and when it was written (with an offset, by the clock of its place)."""

    key: str
    size: int
    written: datetime

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


class Files(Protocol):
    """The files of one home. A file is whole whenever it can be seen, and most never change.

    Reading raises FileNotFoundError or another OSError, writing raises WorkError.
    """

    def writing(self, key: str, durable: bool = True) -> AbstractContextManager[BinaryIO]:
        """A stream to a file that appears whole at the end of the block; nothing of it if the block raises.

        Without `durable` a power cut may take it back.
        """

    def opened(self, key: str, fresh: bool = False) -> AbstractContextManager[pa.NativeFile]:
        """The file, for reading at any place. With `fresh` no copy is used, so that a change is noticed."""

    def exists(self, key: str) -> bool:
        """Whether there is such a file."""

    def listed(self, folder: str) -> Iterator[Entry]:
        """Every file below a folder, in any order; none for a missing folder."""

    def delete(self, key: str) -> None:
        """Remove a file. A missing one is no error."""

    def put_new(self, key: str, content: bytes) -> bool:
        """Write a file unless there is one; of several writers at once exactly one gets True."""

    def adopt(self, other: Files, key: str) -> None:
        """Take over a file of another home that never changes, unless it is there already."""

    def local(self, key: str) -> AbstractContextManager[Path]:
        """For the block, a local path with the file's content, which nobody may change."""

    def where(self, key: str) -> str:
        """The place of a file, for people."""


@dataclass(frozen=True)
class Stored:
    """One file of a home."""

    files: Files
    key: str

    def __str__(self) -> str:
        return self.files.where(self.key)


def read_bytes(files: Files, key: str, fresh: bool = False) -> bytes:
    """The content of a file. Raises OSError."""
    with files.opened(key, fresh) as file:
        content: bytes = file.read()
    return content


def older(entries: Iterable[Entry], before: datetime) -> list[Entry]:
    """The entries from before a moment with an offset, in the order of their keys."""
    return sorted((entry for entry in entries if entry.written < before), key=lambda entry: entry.key)


def remove(files: Files, entries: Iterable[Entry], dry_run: bool = False) -> tuple[int, int]:
    """Remove files, or with `dry_run` only count them. Returns their number and bytes."""
    sizes = list[int]()
    for entry in entries:
        if not dry_run:
            files.delete(entry.key)
        sizes.append(entry.size)
    return len(sizes), sum(sizes)
