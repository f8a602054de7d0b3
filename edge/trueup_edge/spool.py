"""The spool: predictions in a file of limited size, until they are handed back. `README.md` describes the format.

A record is written with one call before the prediction is answered, so that a process that dies loses no answered one.
"""

from __future__ import annotations

import json
import logging
import math
import os
import socket
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any, Final

import numpy as np

from trueup_edge.errors import InputError, Unavailable, UsageError
from trueup_edge.files import lock_alone, sync_folder
from trueup_edge.model import Model, Prediction

FORMAT: Final = "trueup-spool/1"
MAX_BYTES: Final = 16 * 2**20

_START: Final = b'{"crc":"'
_MIDDLE: Final = b'","record":'
_BEFORE: Final = len(_START) + 8 + len(_MIDDLE)
_SMALLEST: Final = 4096
_LONGEST: Final = 1024  # bits; Python reads no text of a few thousand digits as a number

log = logging.getLogger("trueup_edge")


@dataclass(frozen=True)
class HandedBack:
    """How many predictions a file holds, and how many were lost since the spool was handed back before."""

    predictions: int
    lost: int


@dataclass
class _Half:
    """What one half holds: predictions, the sum of its counters, the highest number; bytes of its whole lines."""

    predictions: int = 0
    lost: int = 0
    last: int = 0
    size: int = 0


class Spool:
    """Appends predictions to the file `path`, and keeps it and `path`.old within `max_bytes` together.

    When the newer half is full, the older one is dropped, and what it held is counted as lost. One process at a time may
    use a spool; its threads may share it. With `durable` each record survives a power cut, at the price of a disk's
    latency. A record that cannot be written is counted as lost and the first one logged; with `required` it raises
    Unavailable.

    Raises UsageError if another process uses the spool, Unavailable if it cannot be opened.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int = MAX_BYTES,
        device: str | None = None,
        *,
        durable: bool = False,
        required: bool = False,
    ) -> None:
        if max_bytes < 2 * _SMALLEST:
            raise UsageError(f"max_bytes is {max_bytes}; a spool needs {2 * _SMALLEST} at least")
        self._path = Path(path)
        self._old = self._path.with_name(f"{self._path.name}.old")
        self._new = self._path.with_name(f"{self._path.name}.new")
        self._half = max_bytes // 2
        self._device = device or socket.gethostname()
        self._durable, self._required = durable, required
        self._unwritten = 0  # lost since the last counter
        self._warned = False
        self._lock = Lock()
        self._process = os.getpid()
        self._handle = -1
        self._guard = self._guarded()
        try:
            self._open()
        except OSError as error:
            self.close()
            raise Unavailable(f"{self._path} cannot be opened: {error.strerror or error}; make room there") from None

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Whether there is a spool, also one that a crash interrupted while its halves changed."""
        return any(Path(f"{os.fspath(path)}{ending}").exists() for ending in ("", ".old", ".new"))

    @property
    def lost(self) -> int:
        """Predictions that were lost since the spool was handed back."""
        return self._counts_old.lost + self._counts.lost + self._unwritten

    def append(
        self,
        model: Model,
        row: Mapping[str, Any],
        prediction: Prediction,
        *,
        key: Mapping[str, Any],
        event_time: datetime | str,
    ) -> bool:
        """Write one prediction; returns whether it was written.

        `key` has the key columns of the row, by name, and `event_time` its time (as `Model.predict` takes it): Trueup finds
        the row by them. Raises InputError for values that are not plain and a prediction that is not finite, UsageError
        after `close` and in a process that was forked.
        """
        record = {
            "n": 0,
            "device": self._device,
            "time": datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "model": model.name,
            "version": model.version,
            "epoch": model.epoch,
            "key": _plain(key, "key"),
            "event_time": model.local_time(event_time),
            "row": _plain(row, "row"),
            "prediction": _finite(prediction),
        }
        with self._lock:
            self._require_open()
            record["n"] = self._last + 1
            try:
                self._write(_line(record))
            except OSError as error:
                self._lose(error)
                return False
            self._last += 1
            self._counts.predictions += 1
            return True

    def hand_back(self, to: str | os.PathLike[str]) -> HandedBack:
        """Move all records to a new file, for `trueup ingest-predictions`; without records no file is written.

        After a crash in the middle the same records may be handed back twice, which Trueup notices. Raises UsageError if the
        file exists or is one of the spool's own, Unavailable if it cannot be written; the spool keeps its records then.
        """
        target = Path(to)
        with self._lock:
            self._require_open()
            if target.resolve() in {path.resolve() for path in (self._path, self._old, self._new)}:
                raise UsageError(f"{target} is a file of the spool itself; name another file")
            if target.exists():
                raise UsageError(f"{target} exists; ingest it, or name another file")
            try:
                self._count_unwritten()
                handed_back = HandedBack(self._counts_old.predictions + self._counts.predictions, self.lost)
                if handed_back != HandedBack(0, 0):
                    self._begin(self._counter())  # first, so that a full disk leaves no copy of records that are kept
                    self._copy(target)
                    self._start_anew()
            except OSError as error:
                raise Unavailable(
                    f"{target} cannot be written: {error.strerror or error}; make room, then run again"
                ) from None
        return handed_back

    def close(self) -> None:
        """Close the files, and let another process use the spool."""
        with self._lock:
            if self._handle >= 0 and self._process == os.getpid():
                with suppress(OSError):
                    self._count_unwritten()
            for handle in (self._handle, self._guard):
                if handle >= 0:
                    with suppress(OSError):
                        os.close(handle)
            self._handle = self._guard = -1

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _require_open(self) -> None:
        if self._handle < 0:
            raise UsageError(f"the spool {self._path} is closed; open it again")
        if self._process != os.getpid():  # a fork shares the files and the lock, and would count on its own
            raise UsageError(
                f"the spool {self._path} was opened by another process; open one of its own in each process"
            )

    def _guarded(self) -> int:
        """Hold a lock for as long as the spool is open."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(
                self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644
            )
        except OSError as error:
            raise Unavailable(
                f"{self._path} cannot be opened: {error.strerror or error}; allow writing there"
            ) from None
        if not lock_alone(handle):
            os.close(handle)
            raise UsageError(f"another process uses the spool {self._path}; give each process its own")
        return handle

    def _open(self) -> None:
        """Complete what a crash interrupted: a change of halves, a torn last line."""
        if self._new.exists():
            if self._path.exists():
                self._new.unlink()
            else:
                self._new.replace(self._path)
        self._counts_old, self._counts = self._without_torn_line(self._old), self._without_torn_line(self._path)
        self._last = max(self._counts_old.last, self._counts.last)
        self._reopen()
        if self._size == 0:
            self._put(self._counter())
        if self._durable:
            sync_folder(self._path.parent)

    def _without_torn_line(self, path: Path) -> _Half:
        half = _scan(path)
        if path.exists() and path.stat().st_size > half.size:
            os.truncate(path, half.size)
            self._unwritten += 1
        return half

    def _write(self, line: bytes) -> None:
        if len(line) > self._half - _SMALLEST // 2:
            raise OSError(f"a record of {len(line)} bytes is too large for half a spool of {self._half}")
        counter = self._counter(self._unwritten) if self._unwritten else b""
        if self._size + len(counter) + len(line) > self._half:
            self._change_halves()
        self._count_unwritten()
        self._put(line)

    def _put(self, line: bytes) -> None:
        """Append one line whole, or nothing."""
        try:
            written = os.write(self._handle, line)
            if written < len(line):
                raise OSError("the disk is full")
            if self._durable:
                getattr(os, "fdatasync", os.fsync)(self._handle)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._handle, self._size)
            raise
        self._size += len(line)

    def _count_unwritten(self) -> None:
        if self._unwritten:
            self._put(self._counter(self._unwritten))
            self._counts.lost += self._unwritten
            self._unwritten = 0

    def _counter(self, lost: int = 0) -> bytes:
        return _line({"spool": FORMAT, "device": self._device, "lost": lost, "n": self._last})

    def _lose(self, error: OSError) -> None:
        self._unwritten += 1
        message = f"{self._path}: a prediction could not be written ({error.strerror or error}); make room there"
        if self._required:
            raise Unavailable(message) from None
        if not self._warned:
            log.warning("%s. It is counted as lost, as are those that follow", message)
        self._warned = True

    def _change_halves(self) -> None:
        """Drop the older half, and begin a new one that counts what was dropped."""
        dropped = self._counts_old.predictions + self._counts_old.lost + self._unwritten
        self._begin(self._counter(dropped))
        self._path.replace(self._old)
        self._new.replace(self._path)
        self._counts_old, self._counts = self._counts, _Half(lost=dropped)
        self._unwritten = 0
        self._reopen()
        if self._durable:
            sync_folder(self._path.parent)

    def _start_anew(self) -> None:
        self._old.unlink(missing_ok=True)
        self._new.replace(self._path)
        self._counts_old, self._counts = _Half(), _Half()
        self._reopen()
        sync_folder(self._path.parent)

    def _begin(self, line: bytes) -> None:
        with self._new.open("wb") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _reopen(self) -> None:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        if self._handle >= 0:
            os.close(self._handle)
        self._handle, self._size = handle, os.fstat(handle).st_size

    def _copy(self, target: Path) -> None:
        beside = target.with_name(f".{target.name}.new")
        try:
            with beside.open("wb") as file:
                for half in (self._old, self._path):
                    if half.exists():
                        file.write(half.read_bytes())
                file.flush()
                os.fsync(file.fileno())
            beside.replace(target)
        except OSError:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(target.parent)


def read_records(data: bytes) -> Iterator[dict[str, Any] | None]:
    """Read the records of a spool's bytes in order, None for a broken line. A torn last line is left out."""
    lines = data.split(b"\n")
    for line in lines[:-1]:
        record = line[_BEFORE:-1]
        if line == _framed(record):
            yield json.loads(record)
        else:
            yield None


def _line(record: Mapping[str, Any]) -> bytes:
    return _framed(json.dumps(record, separators=(",", ":"), allow_nan=False).encode()) + b"\n"


def _framed(record: bytes) -> bytes:
    return b"%s%08x%s%s}" % (_START, zlib.crc32(record), _MIDDLE, record)


def _scan(path: Path) -> _Half:
    data = path.read_bytes() if path.exists() else b""
    half = _Half(size=data.rfind(b"\n") + 1)
    for record in read_records(data):
        if record is None:
            continue
        half.last = max(half.last, record.get("n", 0))
        if "spool" in record:
            half.lost += record.get("lost", 0)
        else:
            half.predictions += 1
    return half


def _plain(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    return {str(name): _plain_value(value, f"{where}.{name}") for name, value in values.items()}


def _finite(prediction: Prediction) -> Any:
    if isinstance(prediction, Mapping):
        return {str(name): _finite(value) for name, value in prediction.items()}
    value = _plain_value(prediction, "prediction")
    if type(value) not in (int, float):
        raise InputError(
            f"prediction is {prediction!r}; give the finite number, or the probabilities, that were predicted"
        )
    return value


def _plain_value(value: Any, where: str) -> Any:
    if isinstance(value, np.generic) and not isinstance(value, (np.datetime64, np.timedelta64)):
        value = value.item()
    if isinstance(value, int) and value.bit_length() > _LONGEST:
        raise InputError(f"{where} is a whole number of {value.bit_length()} bits; give it as text")
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        return None if value != value else value.isoformat()  # pandas' missing time is unequal to itself
    raise InputError(f"{where} is a {type(value).__name__}; give text, a number, a time or None")
