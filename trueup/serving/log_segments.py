"""The files of the prediction log that this process writes."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from trueup.errors import LogFull
from trueup.serving.log_format import SUFFIX, drained_offsets, log_files

SEGMENT: Final = 16 * 2**20  # bytes, after which a new file begins
_PARTS: Final = 8  # files within the limit at least: what is stored becomes free a file at a time
_AGE: Final = 3600.0  # seconds after which a new file begins, so that an old one can be removed
_LOOK: Final = 1.0  # seconds between two looks at what the other processes wrote
_LOOK_FULL: Final = 0.05  # the same while the limit is reached


@dataclass
class _Open:
    handle: int
    file: Path
    since: float
    size: int = 0


class Segments:
    """Appends to files that are begun anew by size and age. Not safe for threads.

    `limit` bounds what waits to be stored in the whole folder, in bytes: of all processes.
    """

    def __init__(self, folder: Path, name: str, limit: int) -> None:
        self._folder, self._name, self._limit = folder, name, limit
        self._segment = min(SEGMENT, max(limit // _PARTS, 1))
        self._open: _Open | None = None
        self._number = 0
        self._others = 0  # bytes that wait in the files of others, and in the earlier ones of this process
        self._looked = -_LOOK

    @property
    def waiting(self) -> int:
        """Bytes that wait to be stored, as of the last look."""
        return self._others + (self._open.size if self._open else 0)

    def write(self, frames: bytes, durable: bool = False) -> None:
        """Append frames, all or none; with `durable` they are on the disk when it returns. Raises LogFull."""
        self._require_room(len(frames))
        current = self._current()
        try:
            _write_all(current.handle, frames)
            if durable:
                os.fdatasync(current.handle)
        except OSError as error:
            self._take_back(current)
            raise self._full(error) from error
        current.size += len(frames)

    def close(self) -> None:
        """Let go of the file; one without records is removed."""
        if self._open is not None:
            current, self._open = self._open, None
            if not current.size:
                current.file.unlink(missing_ok=True)
            os.close(current.handle)  # and with it the lock
            self._others += current.size

    def abandon(self) -> None:
        """Let go of a file that belongs to the process from which this one was forked."""
        if self._open is not None:
            os.close(self._open.handle)
            self._open = None

    def _current(self) -> _Open:
        """The file to write to, begun anew if need be. Raises LogFull."""
        current = self._open
        if current is not None and (current.size >= self._segment or time.monotonic() - current.since > _AGE):
            self.close()
        if self._open is None:
            try:
                self._open = self._begin()
            except OSError as error:
                raise self._full(error) from error
        return self._open

    def _begin(self) -> _Open:
        """A new file. It gets its name when it is locked: an unlocked one counts as complete."""
        self._folder.mkdir(parents=True, exist_ok=True)
        while (file := self._folder / f"{self._name}-{self._number}{SUFFIX}").exists():
            self._number += 1
        self._number += 1
        beside = file.with_name(f".{file.name}.new")
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            beside.rename(file)
            _sync(self._folder)
        except OSError:
            os.close(handle)
            beside.unlink(missing_ok=True)
            raise
        return _Open(handle, file, time.monotonic())

    def _take_back(self, current: _Open) -> None:
        """Cut off what was written of frames that are not acknowledged.

        The next record begins a new file then: who drains may have read what is cut off, and goes on reading behind it.
        """
        try:
            if os.fstat(current.handle).st_size == current.size:
                return
            os.ftruncate(current.handle, current.size)
        except OSError:
            pass  # the frames stay, as those of a process that was killed before it answered
        self.close()

    def _require_room(self, more: int) -> None:
        """Raises LogFull beyond the limit."""
        now = time.monotonic()
        over = self.waiting + more > self._limit
        if now - self._looked >= (_LOOK_FULL if over else _LOOK):
            self._look(now)
            over = self.waiting + more > self._limit
        if over:
            raise LogFull(
                f"{self._folder}: {self.waiting / 2**20:.1f} MiB of predictions wait to be stored, and `serve.log_mib` "
                f"allows {self._limit / 2**20:g}; run the loop, which stores them, or raise the limit"
            )

    def _look(self, now: float) -> None:
        """Count what waits in the folder, without the open file's new records."""
        self._looked, stored, total = now, drained_offsets(self._folder), 0
        if self._open is not None and not os.fstat(self._open.handle).st_nlink:
            self.close()  # somebody removed it: what is written there would be lost
        current = self._open.file if self._open else None
        for file in log_files(self._folder):
            with suppress(FileNotFoundError):
                size = 0 if file == current else file.stat().st_size
                total += size - stored.get(file.name, 0)
        self._others = total

    def _full(self, error: OSError) -> LogFull:
        return LogFull(
            f"the prediction log in {self._folder} cannot be written: {error.strerror or error}; make room on its disk or "
            "allow writing there"
        )


def _write_all(handle: int, data: bytes) -> None:
    """Write all bytes. Raises OSError, when some of them may be written."""
    written = os.write(handle, data)
    while written < len(data):
        more = os.write(handle, memoryview(data)[written:])
        if not more:
            raise OSError(f"only {written} of {len(data)} bytes could be written")
        written += more


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
