"""Spans of time in a config: durations, and calendar spans."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainSerializer, TypeAdapter, WithJsonSchema, WrapValidator

_CENTURY = timedelta(days=36_525)
_UNITS = {
    **{unit: timedelta(**{f"{unit}s": 1}) for unit in ("week", "day", "hour", "minute", "second")},
    "min": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART = re.compile(r"([+-]?\d+(?:\.\d+)?)\s*([a-z]+)\s*")
_ISO = TypeAdapter(timedelta)


class Months(timedelta):
    """A number of calendar months, counted by `earlier` and `later`. Compared with other spans, each has 30 days."""

    number: int

    def __new__(cls, number: int) -> Months:
        made = super().__new__(cls, days=30 * number)
        made.number = number
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Months, (self.number,)


def later(moment: datetime, span: timedelta) -> datetime:
    """The moment a span later; for calendar months the same day, or the month's last.

    >>> later(datetime(2024, 1, 31), Months(1))
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    if not isinstance(span, Months):
        return moment + span
    year, month = divmod(moment.year * 12 + moment.month - 1 + span.number, 12)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def earlier(moment: datetime, span: timedelta) -> datetime:
    """The moment a span before.

    >>> earlier(datetime(2024, 3, 31), Months(1))
    datetime.datetime(2024, 2, 29, 0, 0)
    """
    return later(moment, Months(-span.number)) if isinstance(span, Months) else moment - span


def parse_calendar(value: object) -> timedelta:
    """Parse a span like `parse_duration`, or a number of calendar months or years.

    >>> parse_calendar("2 months").number
    2
    """
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(\d+)\s*(month|year)s?\s*", value.lower())):
        number = int(match[1]) * (12 if match[2] == "year" else 1)
        if number > 1200:
            raise ValueError(f"{value!r} is longer than a century; write a shorter span, such as '1 month'")
        return Months(number)
    return parse_duration(value)


def _kept_months(value: Any, handler: Callable[[Any], timedelta]) -> timedelta:
    """Pydantic would make a plain span of it."""
    return value if isinstance(value, Months) else handler(value)


def parse_duration(value: object) -> timedelta:
    """Parse "1 day", "28 days", "1 day 12 hours" or an ISO 8601 duration.

    >>> parse_duration("28 days").days
    28
    """
    span = value if isinstance(value, timedelta) else _read_duration(value.strip()) if isinstance(value, str) else None
    if span is None:
        raise ValueError(f"{value!r} is not a span of time; write a number and a unit, such as '1 day' or '28 days'")
    if abs(span) > _CENTURY:
        raise ValueError(f"{value!r} is longer than a century; write a shorter span, such as '28 days'")
    return span


def _read_duration(text: str) -> timedelta | None:
    try:
        if text.lstrip("+-").startswith("P"):
            return _ISO.validate_python(text)
        parts = _PART.findall(text.lower())
        if not parts or _PART.sub("", text.lower()):
            return None
        return sum((float(n) * _UNITS[u if u in _UNITS else u.removesuffix("s")] for n, u in parts), timedelta())
    except (ValueError, LookupError):
        return None
    except OverflowError:
        return timedelta.max


def write_duration(value: timedelta) -> str:
    """Format a span as in a config, in the largest unit that divides it.

    >>> write_duration(timedelta(days=28)), write_duration(Months(1))
    ('28 days', '1 month')
    """
    if isinstance(value, Months):
        return f"{value.number} month{'' if value.number == 1 else 's'}"
    seconds = int(value.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}{'' if seconds == size else 's'}"
    return f"{seconds} seconds"


def _not_negative(span: timedelta) -> timedelta:
    if span < timedelta(0):
        raise ValueError("cannot be negative; write a span such as `1 day`, or `0 days`")
    return span


def _longer_than_nothing(span: timedelta) -> timedelta:
    if span <= timedelta(0):
        raise ValueError("must be longer than 0; write a span such as `1 day`")
    return span


def span_or_expanding(value: object) -> object:
    """Parse a calendar span, or return `expanding`."""
    try:
        return value if value == "expanding" else _longer_than_nothing(parse_calendar(value))
    except ValueError as error:
        raise ValueError(f"{error}, or `expanding`") from None


def _any_case(*units: str) -> str:
    """A pattern of units, one or many, without flags: patterns of JSON schemas have none."""
    return "|".join("".join(f"[{letter}{letter.upper()}]" for letter in unit) + "[sS]?" for unit in units)


def _span_schema(more: str, *examples: str) -> WithJsonSchema:
    """The form of a span for editors; how long it may be is left to the reader."""
    span = rf"\s*(\+?\d+(\.\d+)?\s*({_any_case(*_UNITS)})\s*)+|\s*\+?P[0-9.YMWDTHS]+\s*"
    words = f"Write a number and a unit, such as {' or '.join(examples)}."
    pattern = {"pattern": f"^({span}{more})$", "patternErrorMessage": words}
    return WithJsonSchema({"type": "string", **pattern, "examples": list(examples)}, mode="validation")


_Timedelta = Annotated[
    timedelta, BeforeValidator(parse_duration), PlainSerializer(write_duration), _span_schema("", "1 day", "28 days")
]
Calendar = Annotated[
    timedelta,
    WrapValidator(_kept_months),
    BeforeValidator(parse_calendar),
    PlainSerializer(write_duration),
    _span_schema(rf"|\s*\d+\s*({_any_case('month', 'year')})\s*", "28 days", "3 months"),
]
CalendarSpan = Annotated[Calendar, AfterValidator(_longer_than_nothing)]
Duration = Annotated[_Timedelta, AfterValidator(_not_negative)]
Span = Annotated[_Timedelta, AfterValidator(_longer_than_nothing)]
