"""Reads spools: the files in which devices keep their predictions. `edge/README.md` describes the format."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from trueup.errors import WorkError

FORMAT: Final = "trueup-spool/1"
_LINE: Final = re.compile(rb'\{"crc":"([0-9a-f]{8})","record":(\{.*\})\}')


@dataclass(frozen=True)
class Served:
    """A prediction that a device made."""

    n: int  # its number on the device
    device: str
    time: str  # when it was made, by the device's clock: ISO 8601 in UTC
    model: str
    version: int
    epoch: int
    key: Mapping[str, Any]  # the key columns of the row
    event_time: str  # of the row: ISO 8601, in the model's time zone unless it has an offset
    prediction: object  # a number, or the probability of each class


@dataclass(frozen=True)
class Spooled:
    """All predictions in some spools, the number of lines that are none, and of predictions that devices dropped."""

    records: tuple[Served, ...]
    broken: int
    lost: int


def read_spools(files: Sequence[Path]) -> Spooled:
    """Read spools. Raises WorkError for a file that cannot be read, or that is no spool."""
    each = [_read(file) for file in files]
    records = tuple(record for spooled in each for record in spooled.records)
    return Spooled(records, sum(spooled.broken for spooled in each), sum(spooled.lost for spooled in each))


def _read(file: Path) -> Spooled:
    records, lines, broken, lost = list[Served](), 0, 0, 0
    for lines, content in enumerate(_records(file), start=1):  # noqa: B007
        if content is not None and "spool" in content:
            if content["spool"] != FORMAT:
                raise WorkError(
                    f"{file}: is of the format {content['spool']!r}, and {FORMAT} is read; update one of the two"
                )
            lost += dropped if isinstance(dropped := content.get("lost"), int) else 0
        elif content is not None and (record := _served(content)) is not None:
            records.append(record)
        else:
            broken += 1
    if 1 < lines == broken:
        raise WorkError(f"{file}: none of its {lines:,} lines is a record; name the file of a device's spool")
    return Spooled(tuple(records), broken, lost)


def _records(file: Path) -> Iterator[dict[str, Any] | None]:
    """The records of a file; None for a line that is none, such as one that a crash has torn."""
    try:
        with file.open("rb") as stream:
            for line in stream:
                yield _record(line)
    except OSError as error:
        raise WorkError(f"{file}: cannot be read ({error.strerror or error}); copy it from the device again") from None


def _record(line: bytes) -> dict[str, Any] | None:
    match = _LINE.fullmatch(line.removesuffix(b"\n"))
    if match is None or not line.endswith(b"\n") or int(match[1], 16) != zlib.crc32(match[2]):
        return None
    try:
        content = json.loads(match[2])
        if b"\\u" in match[2]:
            json.dumps(content, ensure_ascii=False).encode()  # half a pair of surrogates is no text
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


_KINDS: Final = {
    "n": int, "device": str, "time": str, "model": str, "version": int, "epoch": int, "key": dict, "event_time": str,
}  # fmt: skip


def _served(content: dict[str, Any]) -> Served | None:
    """The record of a prediction; None without a part of it."""
    values = [(content.get(name), kind) for name, kind in _KINDS.items()]
    if not all(isinstance(v, kind) and not isinstance(v, bool) for v, kind in values) or "prediction" not in content:
        return None
    if any(isinstance(value, list | dict) for value in content["key"].values()):
        return None
    return Served(**{name: content[name] for name in _KINDS}, prediction=content["prediction"])
