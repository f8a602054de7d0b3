"""The prediction log's format: records, frames, and the files of one process.

A record is an array in MessagePack. A frame is its length and its CRC-32 (both unsigned 32 bits, little-endian), and
the record. A file belongs to one process, which holds a lock on it (`flock`) for as long as it may still write there.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from struct import Struct as Layout
from typing import Any, Final, Literal
from zlib import crc32

import msgspec

SUFFIX: Final = ".log"
DRAINED: Final = "drained.json"  # in the log's folder: how far each file was stored, in bytes
LONGEST: Final = 64 * 2**20  # bytes of a frame's record; a longer one is damage

_HEAD: Final = Layout("<II")
HEAD: Final = _HEAD.size


class Record(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One prediction, as it was made. Later fields go to the end, with a default."""

    id: str
    at: int  # microseconds since 1970, UTC
    model: str
    version: int
    epoch: int
    role: Literal["champion", "canary", "shadow"]
    key: dict[str, Any] | None  # columns that identify the row, as the client sent them
    event_time: str | None  # ISO 8601, local to the model
    features: bytes | None  # float64, little-endian, in the order of the version's inputs; NaN for personal ones
    prediction: float | list[float] | None  # a list has the order of the version's classes
    error: str | None = None  # why this version made no prediction
    idempotency: str | None = None
    recorded: bool = False  # of record: it may count as the row's prediction; in shadow as that of the answer
    latency_us: int = 0
    rollout: str | None = None
    missing: int = 0  # inputs without a value


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encoded(record: Record) -> bytes:
    """The record's bytes, for `PredictionLog.append`."""
    return _encoder.encode(record)


def decoded(payload: bytes) -> Record | None:
    """The record of some bytes; None if they are no record, such as those of an erased one."""
    try:
        return _decoder.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def framed(payloads: Iterable[bytes]) -> bytes:
    """The frames of some records, one after the other.

    >>> framed([b"ab"]).hex()
    '020000006d48839e6162'
    """
    return b"".join([part for p in payloads for part in (_HEAD.pack(len(p), crc32(p)), p)])


@dataclass(frozen=True)
class Frames:
    """What a file has from some offset on."""

    payloads: list[bytes]
    starts: list[int]  # the offset of each payload's frame
    end: int  # the offset behind the last whole frame
    broken: int  # frames in between whose checksum is wrong
    torn: int  # bytes at the end that are no whole frame


def read_frames(file: Path, start: int = 0) -> Frames:
    """Read the frames of a file from an offset on. A wrong one is left out; an incomplete one ends the reading.

    A file that its process has removed meanwhile was empty: it has none.
    """
    try:
        with file.open("rb") as stream:
            stream.seek(start)
            data = memoryview(stream.read())
    except FileNotFoundError:
        data = memoryview(b"")
    payloads, starts, at, broken = list[bytes](), list[int](), 0, 0
    while at + HEAD <= len(data):
        length, checksum = _HEAD.unpack_from(data, at)
        end = at + HEAD + length
        if not 0 < length <= LONGEST or end > len(data):
            break
        payload = bytes(data[at + HEAD : end])
        if crc32(payload) == checksum:
            payloads.append(payload)
            starts.append(start + at)
        elif end == len(data):  # the last one: perhaps still being written
            break
        else:
            broken += 1
        at = end
    return Frames(payloads, starts, start + at, broken, len(data) - at)


def record_at(file: Path, start: int) -> Record | None:
    """The record whose frame begins at an offset; None if none does. Raises OSError if the file cannot be read."""
    with file.open("rb") as stream:
        stream.seek(start)
        head = stream.read(HEAD)
        if len(head) < HEAD:
            return None
        length, checksum = _HEAD.unpack(head)
        payload = stream.read(min(length, LONGEST))
    return decoded(payload) if crc32(payload) == checksum else None


def erase(file: Path, frames: Mapping[int, int]) -> None:
    """Overwrite records in a file, in place: `frames` has the length of the record by its frame's offset.

    What is left decodes to no record, and its frame is whole, also for the process that goes on writing to the file.
    """
    handle = os.open(file, os.O_WRONLY)
    try:
        for start, length in frames.items():
            os.pwrite(handle, framed([bytes(length)]), start)
        os.fsync(handle)
    finally:
        os.close(handle)


def log_files(folder: Path) -> list[Path]:
    """All files of a log: of each process in the order of writing."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=_order)


def _order(file: Path) -> tuple[str, int]:
    name, _, number = file.stem.rpartition("-")
    return name, int(number) if number.isdigit() else 0


def is_written(file: Path) -> bool:
    """Whether a process that lives may still write to a file."""
    try:
        handle = os.open(file, os.O_RDWR)  # a network file system gives the lock to no other
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def drained_offsets(folder: Path) -> dict[str, int]:
    """How many bytes of each file are stored, by the file's name. Without a readable note, nothing is."""
    try:
        return msgspec.json.decode((folder / DRAINED).read_bytes(), type=dict[str, int])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def process_name() -> str:
    """A name for the log files of this process: host, process id and moment."""
    host = re.sub(r"[^A-Za-z0-9_.]", "_", socket.gethostname())[:60] or "host"
    return f"{host}-{os.getpid()}-{time.time_ns() // 1_000_000}"
