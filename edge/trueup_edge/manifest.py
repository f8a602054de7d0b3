"""The manifest of a bundle: verified first, then read. Nothing of a manifest is used before its signature is checked."""

from __future__ import annotations

import hashlib
import math
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final, TypeVar

from trueup_edge.errors import AnotherModel, Expired, NotTrusted
from trueup_edge.strict_json import parse
from trueup_edge.trust import TrustAnchor

FORMAT: Final = "trueup-bundle/1"
MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sig"
MODEL: Final = "model.onnx"
PARITY: Final = "parity.jsonl"
SIZE_LIMIT: Final = 16 * 2**20  # bytes of a manifest: its lists of categories can be long
SIGNATURE_LIMIT: Final = 4096

PARTS: Final = ("month", "day", "weekday", "hour", "minute_of_day", "day_of_year", "weekend")

_DOMAIN: Final = b"trueup-bundle-1\n"
_FILE_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LARGEST: Final = 2**53 - 1  # the largest whole number that all readers of JSON agree about
_CLOCK_ERROR: Final = timedelta(days=1)

T = TypeVar("T")


@dataclass(frozen=True)
class FileEntry:
    """Size in bytes and SHA-256 in hex of one file."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Input:
    """One column of the graph's input.

    `missing` is the code or value of a missing value, `unknown` the code of a category that is not in `categories`
    (a category's code is its position). `infinite` is whether the model takes ±inf. A calendar input has the time column
    and the part of it.
    """

    name: str
    kind: str  # "number" or "category"
    dtype: str  # "float64" or "float32"
    categories: tuple[str, ...]
    missing: float
    unknown: float
    infinite: bool
    column: str | None
    part: str | None


@dataclass(frozen=True)
class Manifest:
    """What a trusted key signed about one version of a model."""

    model: str
    task: str  # "binary", "multiclass" or "regression"
    version: int
    epoch: int
    issued: datetime
    expires: datetime
    trained_until: str
    timezone: str
    files: Mapping[str, FileEntry]
    inputs: tuple[Input, ...]
    label: str
    unit: str
    classes: tuple[str, ...]
    tolerance: float
    digest: str  # SHA-256 of the manifest's bytes, in hex
    raw: Mapping[str, Any]

    @property
    def order(self) -> tuple[int, datetime]:
        """Later bundles have a higher epoch, or the same one and were issued later."""
        return self.epoch, self.issued

    def __str__(self) -> str:
        return f"{self.model} version {self.version}, epoch {self.epoch}"


def verify_manifest(
    data: bytes, signature: bytes, anchor: TrustAnchor, now: datetime | None = None, *, allow_expired: bool = False
) -> Manifest:
    """Verify the signature of a manifest's bytes, then its model and its time, and read it.

    `now` (with an offset) replaces the clock. Raises NotTrusted, AnotherModel, or Expired: also if the clock is more than a
    day before the manifest was issued, because such a clock cannot say whether the manifest has expired.
    """
    sealed = parse(signature, SIGNATURE)
    anchor.verify(sealed.get("key_id"), sealed.get("signature"), _DOMAIN + data, MANIFEST)
    manifest = _manifest(data)
    if manifest.model != anchor.model:
        raise AnotherModel(
            f"the bundle is for the model {manifest.model!r}, {anchor.path} trusts {anchor.model!r} only; "
            "get the bundle of that model"
        )
    if not allow_expired:
        _check_time(manifest, now or datetime.now(timezone.utc))
    return manifest


def _check_time(manifest: Manifest, now: datetime) -> None:
    if now >= manifest.expires:
        raise Expired(
            f"the manifest of {manifest} expired at {_text(manifest.expires)} (now {_text(now)}); pull a newer bundle"
        )
    if now < manifest.issued - _CLOCK_ERROR:
        raise Expired(
            f"the clock says {_text(now)}, but the manifest of {manifest} was issued at {_text(manifest.issued)}; "
            "set the clock, so that the manifest's time can be checked"
        )


def _text(moment: datetime) -> str:
    return moment.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class _Reader:
    """Typed access to the members of a JSON object. Each method raises NotTrusted, naming the place."""

    def __init__(self, raw: Mapping[str, Any], where: str) -> None:
        self._raw, self._where = raw, where

    def fail(self, key: str, need: str) -> NotTrusted:
        place = f"{self._where}{key}"
        return NotTrusted(
            f"{MANIFEST}: {place} is {reprlib.repr(self._raw.get(key))}, {need} is needed; update trueup-edge or export the bundle anew"
        )

    def text(self, key: str, choices: tuple[str, ...] = ()) -> str:
        value = self._raw.get(key)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.fail(key, " or ".join(choices) or "a text")
        return value

    def whole(self, key: str) -> int:
        value = self._raw.get(key)
        if type(value) is not int or not 0 <= value <= _LARGEST:
            raise self.fail(key, f"a whole number from 0 to {_LARGEST}")
        return value

    def number(self, key: str) -> float:
        """A number; NaN for null."""
        value = self._raw.get(key)
        if value is None:
            return math.nan
        try:
            if type(value) in (int, float) and math.isfinite(value):
                return float(value)
        except OverflowError:  # of a whole number beyond the largest float
            pass
        raise self.fail(key, "a finite number or null")

    def moment(self, key: str) -> datetime:
        text = self.text(key)
        try:
            value = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith("Z") else text)
        except ValueError:
            raise self.fail(key, "a time such as 2024-01-31T00:00:00Z") from None
        if value.tzinfo is None or not 1970 <= value.year < 9999:  # so that days can be added and time zones changed
            raise self.fail(key, "a time in UTC")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._raw.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.fail(key, "a list of texts")
        if len(set(value)) != len(value):
            raise self.fail(key, "a list without duplicates")
        return tuple(value)

    def member(self, key: str) -> _Reader:
        value = self._raw.get(key)
        if not isinstance(value, dict):
            raise self.fail(key, "an object")
        return _Reader(value, f"{self._where}{key}.")

    def members(self, key: str, read: Callable[[_Reader], T]) -> list[T]:
        value = self._raw.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.fail(key, "a list of objects")
        return [read(_Reader(item, f"{self._where}{key}[{index}].")) for index, item in enumerate(value)]

    def names(self) -> list[str]:
        return list(self._raw)

    def flag(self, key: str) -> bool:
        value = self._raw.get(key, False)
        if not isinstance(value, bool):
            raise self.fail(key, "true or false")
        return value

    def has(self, key: str) -> bool:
        return self._raw.get(key) is not None


def _manifest(data: bytes) -> Manifest:
    raw = parse(data, MANIFEST)
    reader = _Reader(raw, "")
    reader.text("format", (FORMAT,))
    output = reader.member("output")
    task = reader.text("task", ("binary", "multiclass", "regression"))
    classes = output.texts("classes") if output.has("classes") else ()
    if task == "multiclass" and len(classes) < 2:
        raise output.fail("classes", "a list of two classes or more")
    inputs = tuple(reader.members("inputs", _input))
    if len({column.name for column in inputs}) != len(inputs):
        raise reader.fail("inputs", "a list with different names")
    return Manifest(
        model=reader.text("model"),
        task=task,
        version=reader.whole("version"),
        epoch=reader.whole("epoch"),
        issued=reader.moment("issued"),
        expires=reader.moment("expires"),
        trained_until=reader.text("trained_until"),
        timezone=reader.text("timezone"),
        files=_files(reader.member("files")),
        inputs=inputs,
        label=output.text("name"),
        unit=output.text("unit") if output.has("unit") else "",
        classes=classes if task == "multiclass" else (),
        tolerance=_tolerance(reader),
        digest=hashlib.sha256(data).hexdigest(),
        raw=raw,
    )


def _tolerance(reader: _Reader) -> float:
    value = reader.number("tolerance")
    if not 0 <= value <= 1e-3:  # a larger one would let the self-test pass anything
        raise reader.fail("tolerance", "a number from 0 to 0.001")
    return value


def _files(reader: _Reader) -> dict[str, FileEntry]:
    entries: dict[str, FileEntry] = {}
    for name in reader.names():
        # Some file systems ignore case.
        taken = {MANIFEST, SIGNATURE, *map(str.lower, entries)}
        if not _FILE_NAME.fullmatch(name) or name.lower() in taken:
            raise reader.fail(name, "a plain file name")
        entry = reader.member(name)
        entries[name] = FileEntry(entry.whole("bytes"), entry.text("sha256"))
    for name in (MODEL, PARITY):
        if name not in entries:
            raise reader.fail(name, "an entry")
    return entries


def _input(reader: _Reader) -> Input:
    kind = reader.text("kind", ("number", "category"))
    calendar = reader.has("of") and reader.text("of") == "calendar"
    return Input(
        name=reader.text("name"),
        kind=kind,
        dtype=reader.text("dtype", ("float64", "float32")),
        categories=reader.texts("categories") if kind == "category" else (),
        missing=reader.number("missing"),
        unknown=reader.number("unknown"),
        infinite=reader.flag("infinite"),
        column=reader.text("column") if calendar and kind == "number" else None,
        part=reader.text("part", PARTS) if calendar and kind == "number" else None,
    )
