"""Rows of plain Python values become the numbers that the graph takes."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from trueup_edge.errors import InputError
from trueup_edge.manifest import Input, Manifest

Floats = npt.NDArray[np.float64]
Row = Mapping[str, Any]

_NUMBERS: Final = frozenset({float, int, bool, type(None)})
_NO_NUMBERS: Final = (np.complexfloating, np.timedelta64)  # numpy counts them as numbers, too
_TRUTHS: Final = {"true": ("True", "TRUE"), "false": ("False", "FALSE")}

_CALENDAR: Final[Mapping[str, Callable[[datetime], float]]] = {
    "month": lambda time: float(time.month),
    "day": lambda time: float(time.day),
    "weekday": lambda time: float(time.weekday()),  # Monday is 0
    "hour": lambda time: float(time.hour),
    "minute_of_day": lambda time: float(time.hour * 60 + time.minute),
    "day_of_year": lambda time: float(time.timetuple().tm_yday),
    "weekend": lambda time: float(time.weekday() >= 5),
}


class Encoder:
    """Encodes rows for one manifest.

    Only the fields of `names` are allowed in a row: the inputs, and the time columns of calendar inputs. With
    `ignore_unknown` other fields are ignored.
    """

    def __init__(self, manifest: Manifest, *, ignore_unknown: bool = False) -> None:
        inputs = manifest.inputs
        self._inputs = inputs
        self._zone_name = manifest.timezone
        self._zone: tzinfo | None = None
        self._columns = [column.name for column in inputs]
        self._categories = [(i, _codes(c), c) for i, c in enumerate(inputs) if c.kind == "category"]
        self._calendar = [
            (i, c.name, c.column, _CALENDAR[c.part]) for i, c in enumerate(inputs) if c.column is not None and c.part
        ]
        self.names = frozenset(self._columns) | {column for _, _, column, _ in self._calendar}
        self._ignore_unknown = ignore_unknown
        numbers = [column.kind == "number" for column in inputs]
        self._rounded = np.array([c.dtype == "float32" and n for c, n in zip(inputs, numbers, strict=True)])
        self._finite = np.array([n and not c.infinite for c, n in zip(inputs, numbers, strict=True)])
        self._filled = [
            (i, c.missing) for i, c in enumerate(inputs) if c.kind == "number" and not math.isnan(c.missing)
        ]
        self._any_rounded, self._any_finite = bool(self._rounded.any()), bool(self._finite.any())
        self._packed = struct.Struct("=" + "".join("f" if rounded else "d" for rounded in self._rounded))

    def encode_one(self, row: Row) -> Floats:
        """Encode one row as an array (1, inputs), like `encode` and in two thirds of its time."""
        values: Sequence[Any] = self._values(row)
        if None in values:
            values = [math.nan if value is None else value for value in values]
        try:
            if self._any_rounded:
                values = self._packed.unpack(self._packed.pack(*values))
            if self._any_finite and not math.isfinite(sum(values)) and (math.inf in values or -math.inf in values):
                return self.encode((row,))
            features: Floats = np.array(values, dtype=np.float64).reshape(1, -1)
        except (OverflowError, struct.error):  # a number beyond float32, or a whole one beyond float64
            return self.encode((row,))
        for position, value in self._filled:
            if math.isnan(values[position]):
                features[0, position] = value
        return features

    def encode(self, rows: Sequence[Row]) -> Floats:
        """Encode rows as an array (rows, inputs). Raises InputError, naming the field."""
        values = [self._values(row) for row in rows]
        if not values:
            return np.empty((0, len(self._inputs)))
        try:
            features: Floats = np.array(values, dtype=np.float64)
        except OverflowError:
            raise self._too_large(values) from None
        if self._any_rounded:
            with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, as where the model was trained
                np.copyto(features, features.astype(np.float32), where=self._rounded)
        if self._any_finite and np.count_nonzero(np.isinf(features)):
            self._refuse_infinite(features)
        for position, value in self._filled:
            features[np.isnan(features[:, position]), position] = value
        return features

    def _values(self, row: Row) -> list[Any]:
        if not self._ignore_unknown and not self.names.issuperset(row):
            raise self._unknown(row)
        values: list[Any] = list(map(row.get, self._columns))
        for position, codes, column in self._categories:
            value = values[position]
            if type(value) is str:
                values[position] = codes.get(value, column.unknown)
            else:
                values[position] = column.missing if value is None else _rare_code(codes, value, column)
        if self._calendar:
            self._fill_calendar(values, row)
        if not _NUMBERS.issuperset(map(type, values)):
            values = [self._number(value, column) for value, column in zip(values, self._inputs, strict=True)]
        return values

    def _fill_calendar(self, values: list[Any], row: Row) -> None:
        times: dict[str, datetime | None] = {}
        for position, name, column, part in self._calendar:
            if name in row:
                continue
            if column not in times:
                times[column] = self.time(row.get(column), column)
            time = times[column]
            values[position] = None if time is None else part(time)

    def time(self, value: object, column: str) -> datetime | None:
        """Read a datetime or ISO text, converted to the model's time zone if it has an offset; None if it is missing.

        Raises InputError, naming `column`.
        """
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value)
            except ValueError:
                raise InputError(f"{column} is {value!r}, which is no time; write it as 2024-01-31T18:30:00") from None
        if value is None or value != value:  # pandas' missing time is unequal to itself
            return None
        if not isinstance(value, datetime):
            raise InputError(f"{column} is {value!r}, a {type(value).__name__}; give a datetime or its ISO text")
        if value.tzinfo is None:
            return value
        zone = self._time_zone()
        try:
            return value.astimezone(zone)
        except (OverflowError, ValueError):  # in the first or the last year that Python can count
            raise InputError(f"{column} is {value}, which {self._zone_name} cannot have; check it") from None

    def _time_zone(self) -> tzinfo:
        if self._zone is None:
            from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

            try:
                self._zone = ZoneInfo(self._zone_name)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise InputError(
                    f"this device does not know the time zone {self._zone_name}, so times with an offset cannot be "
                    "converted; install tzdata, or give times of that zone without an offset"
                ) from None
        return self._zone

    def _number(self, value: Any, column: Input) -> float | None:
        if isinstance(value, (bool, int, float, np.number, np.bool_)) and not isinstance(value, _NO_NUMBERS):
            try:
                return float(value)
            except OverflowError:
                raise _too_large(column.name) from None
        if value is None:
            return None
        kind = "text" if isinstance(value, str) else f"a {type(value).__name__}"
        raise InputError(f"{column.name} is {value!r}, {kind}; a number is needed, None if it is missing")

    def _unknown(self, row: Row) -> InputError:
        name = str(sorted(set(row) - self.names, key=str)[0])
        close = get_close_matches(name, self.names, 1)
        hint = f"did you mean {close[0]}?" if close else "remove it, or load the model with ignore_unknown=True"
        return InputError(f"{name} is not an input of this model; {hint}")

    def _too_large(self, values: Sequence[Sequence[Any]]) -> InputError:
        fields = [
            name for row in values for name, value in zip(self._columns, row, strict=True) if _is_too_large(value)
        ]
        return _too_large(fields[0])

    def _refuse_infinite(self, features: Floats) -> None:
        infinite = np.isinf(features).any(axis=0) & self._finite
        if infinite.any():
            name = self._inputs[int(infinite.argmax())].name
            raise InputError(f"{name} is infinite, which this model does not take; give None if it is not known")


def _codes(column: Input) -> dict[str, float]:
    """Codes of the categories, and of other ways to write true and false."""
    codes = {text: float(code) for code, text in enumerate(column.categories)}
    others = {other: codes[text] for text, ways in _TRUTHS.items() if text in codes for other in ways}
    return others | codes


def _rare_code(codes: Mapping[str, float], value: Any, column: Input) -> float:
    """The code of a category that was not given as text: a boolean or a number, written as in training."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        text = str(value)
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int):
        text = str(value)
    elif isinstance(value, float):
        if math.isnan(value):
            return column.missing
        text = _float_text(value)
    else:
        raise InputError(
            f"{column.name} is {value!r}, a {type(value).__name__}; a text is needed, None if it is missing"
        )
    return codes.get(text, column.unknown)


def _is_too_large(value: object) -> bool:
    if type(value) is int:
        try:
            float(value)
        except OverflowError:
            return True
    return False


def _too_large(name: str) -> InputError:
    return InputError(f"{name} is a whole number too large for a float; give one below 1e308")


def _float_text(value: float) -> str:
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    text = str(value)
    return format(Decimal(text), "f") if "e" in text else text
