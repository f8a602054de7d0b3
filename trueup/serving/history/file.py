"""Files of the past that history features see: events with their keys, values, and moments of becoming known.

A file is a header (its length in 4 bytes, then msgpack) and the columns behind it as plain little-endian arrays, so it
is read at the speed of the disk. Texts of a key column are written once, and rows hold their positions.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trueup.errors import UntrustedModel, WorkError
from trueup.serving import state

_LENGTH: Final = struct.Struct("<I")
_MISSING: Final = -1


def measure_of(spec: state.HistorySpec) -> str:
    """Name what a spec aggregates; specs with one name share their values."""
    if spec.aggregate == "rate":
        return f"rate {msgspec.json.encode([spec.of, 1 if spec.equals is None else spec.equals]).decode()}"
    return f"{spec.aggregate} {spec.of}"


@dataclass(frozen=True)
class Events:
    """Past rows: when they became known (microseconds since 1970, local to the model), their keys and values.

    `codes[column]` (n,) numbers the texts of a key column, -1 for a missing one; `texts[column]` has the numbers.
    `values[measure]` (n,) are what is averaged or counted, NaN if missing.
    """

    known: npt.NDArray[np.int64]
    codes: dict[str, npt.NDArray[np.int32]]
    texts: dict[str, dict[str, int]]
    values: dict[str, npt.NDArray[np.float64]]

    @classmethod
    def together(cls, parts: Sequence[Events], columns: Iterable[str], measures: Iterable[str]) -> Events:
        """Join the events of several files. Raises WorkError if one lacks a column."""
        known = [part.known for part in parts]
        try:
            joined = {column: _joined(parts, column) for column in columns}
            values = {name: _concatenated([part.values[name] for part in parts], np.float64) for name in measures}
        except KeyError as error:
            raise WorkError(f"a file of the history lacks {error}; publish the state again") from None
        codes = {column: numbers for column, (numbers, _) in joined.items()}
        texts = {column: of_column for column, (_, of_column) in joined.items()}
        return cls(_concatenated(known, np.int64), codes, texts, values)


class Header(msgspec.Struct, forbid_unknown_fields=True):
    """What is in a file, in the order of its columns."""

    format: Literal["trueup-history/1"]
    snapshot: bool  # false for a journal
    rows: int
    batches: dict[str, str]  # the digest of each batch whose events are here, by its window
    texts: dict[str, list[str]]  # of the key columns
    measures: dict[str, Literal["f8", "i1"]]  # with their types; i1 has -1 for missing


def encode(events: Events, batches: dict[str, str], snapshot: bool) -> bytes:
    """Return events as the content of a file."""
    kinds: dict[str, Any] = {name: "f8" if name.startswith("mean") else "i1" for name in events.values}
    texts = {column: list(numbers) for column, numbers in events.texts.items()}
    header = msgspec.msgpack.encode(Header("trueup-history/1", snapshot, len(events.known), batches, texts, kinds))
    arrays = [events.known.astype("<i8"), *(events.codes[column].astype("<i4") for column in texts)]
    for name, kind in kinds.items():
        values = events.values[name]
        arrays.append(values.astype("<f8") if kind == "f8" else np.nan_to_num(values, nan=_MISSING).astype("<i1"))
    return b"".join([_LENGTH.pack(len(header)), header, *(one.tobytes() for one in arrays)])


def read_content(path: Path, sha256: str) -> bytes:
    """Read a file of that digest. Raises UntrustedModel for another digest, WorkError if it cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WorkError(f"{path} cannot be read: {error.strerror or error}; publish the state again") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UntrustedModel(f"{path} is not the file that was published: its digest differs; publish the state again")
    return content


def header_of(content: bytes) -> Header:
    """Read the header of a file's content. Raises WorkError for another format."""
    return _header(content)[0]


def read_events(path: Path, sha256: str) -> Events:
    """Read a file of that digest. Raises UntrustedModel and WorkError as `read_content`, WorkError for another format."""
    content = read_content(path, sha256)
    header, at = _header(content)
    kinds = ["<i8", *["<i4"] * len(header.texts), *(f"<{kind}" for kind in header.measures.values())]
    arrays = []
    for kind in kinds:
        size = np.dtype(kind).itemsize * header.rows
        if at + size > len(content):
            raise WorkError(f"{path} ends too early; publish the state again")
        arrays.append(np.frombuffer(content, kind, header.rows, at))
        at += size
    known, codes, values = arrays[0], arrays[1 : 1 + len(header.texts)], arrays[1 + len(header.texts) :]
    return Events(
        known.astype(np.int64),
        {column: array.astype(np.int32) for column, array in zip(header.texts, codes, strict=True)},
        {column: {text: i for i, text in enumerate(texts)} for column, texts in header.texts.items()},
        {name: _floats(array) for name, array in zip(header.measures, values, strict=True)},
    )


def _header(content: bytes) -> tuple[Header, int]:
    try:
        (length,) = _LENGTH.unpack_from(content)
        begin = _LENGTH.size
        return msgspec.msgpack.decode(content[begin : begin + length], type=Header), begin + length
    except (struct.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WorkError(f"a file of the history is of another format ({error}); publish the state again") from None


def _floats(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    floats = values.astype(np.float64)
    if values.dtype.kind == "i":
        floats[values == _MISSING] = np.nan
    return floats


def _joined(parts: Sequence[Events], column: str) -> tuple[npt.NDArray[np.int32], dict[str, int]]:
    """Number the texts of a column alike in all parts."""
    texts: dict[str, int] = {}
    codes = []
    for part in parts:
        numbers = [texts.setdefault(text, len(texts)) for text in part.texts[column]]
        codes.append(np.array([*numbers, _MISSING], dtype=np.int32)[part.codes[column]])
    return _concatenated(codes, np.int32), texts


def _concatenated(arrays: Sequence[npt.NDArray[Any]], kind: type[np.generic]) -> npt.NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *arrays]).astype(kind, copy=False)
