"""How values of a request become numbers of the graph: the rules of devices (`trueup_edge.inputs`), bit for bit.

A category becomes its position in the list of the version's training, a number is rounded to its type there, a part of
the calendar is taken of the local time. `Encoder` applies them to rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

Row = Mapping[str, Any]  # values of a request: text, bool, int, float or None by field

CALENDAR: Final[Mapping[str, Callable[[datetime], float]]] = {
    "month": lambda time: float(time.month),
    "day": lambda time: float(time.day),
    "weekday": lambda time: float(time.weekday()),  # Monday is 0
    "hour": lambda time: float(time.hour),
    "minute_of_day": lambda time: float(time.hour * 60 + time.minute),
    "day_of_year": lambda time: float(time.timetuple().tm_yday),
    "weekend": lambda time: float(time.weekday() >= 5),
}

_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_TRUTHS: Final = {"true": ("True", "TRUE"), "false": ("False", "FALSE")}


class Input(Protocol):
    """A column of the graph's input, as the manifest of a bundle has it; None stands for NaN."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str:
        """`number` or `category`."""

    @property
    def dtype(self) -> str:
        """`float64`, or `float32` to which numbers are rounded."""

    @property
    def categories(self) -> tuple[str, ...]: ...
    @property
    def missing(self) -> float | None: ...
    @property
    def unknown(self) -> float | None: ...
    @property
    def infinite(self) -> bool: ...
    @property
    def of(self) -> str:
        """`numeric`, `categorical`, `calendar`, `history` or `custom`."""

    @property
    def column(self) -> str: ...
    @property
    def part(self) -> str: ...


def codes_of(categories: tuple[str, ...]) -> dict[str, float]:
    """Codes of the categories, and of other ways to write true and false.

    >>> codes_of(("false", "true"))["True"]
    1.0
    """
    codes = {text: float(code) for code, text in enumerate(categories)}
    others = {other: codes[text] for text, ways in _TRUTHS.items() if text in codes for other in ways}
    return others | codes


def category_text(value: str | bool | int | float) -> str:
    """A category that was not given as text, written as in training.

    >>> [category_text(value) for value in (True, 7, 2.0, 1e-7)]
    ['true', '7', '2', '0.0000001']
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, float):
        return str(value)
    if math.isfinite(value) and value == int(value):
        return str(int(value))
    text = str(value)
    return format(Decimal(text), "f") if "e" in text else text


def local_time(value: object, zone: ZoneInfo) -> datetime:
    """Read ISO text as a time in the model's time zone, without offset; one with an offset is converted.

    Raises ValueError if it is no time, or none that the zone can have.

    >>> local_time("2013-01-01T10:00:00Z", ZoneInfo("America/New_York"))
    datetime.datetime(2013, 1, 1, 5, 0)
    """
    if not isinstance(value, str):
        raise ValueError("not a text")
    time = datetime.fromisoformat(value[:-1] + "+00:00" if value.endswith(("Z", "z")) else value)
    if time.tzinfo is None:
        return time
    try:
        return time.astimezone(zone).replace(tzinfo=None)
    except OverflowError as error:  # in the first or the last year that Python can count
        raise ValueError(str(error)) from None


def microseconds(time: datetime) -> int:
    """Microseconds of a time without offset since 1970-01-01.

    >>> microseconds(datetime(1970, 1, 2))
    86400000000
    """
    return (time - _EPOCH) // _MICROSECOND
