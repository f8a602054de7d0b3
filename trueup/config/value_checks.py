"""Checks of single values of a config beyond their types. Each error has a fix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from trueup.hints import did_you_mean

MIN_BLOCKS = 10  # fewer blocks of time give no reliable interval

COUNTED = (
    "epoch s",
    "epoch ms",
    "epoch us",
    "epoch ns",
    "excel",
    "days",
    "hours",
)  # ways to count time, in place of a format

SHORTEST = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=28)}


def zone(name: str) -> str:
    """Return the name if such a time zone exists. Raises ValueError.

    >>> zone("America/New York")
    Traceback (most recent call last):
    ValueError: there is no time zone 'America/New York'; did you mean America/New_York?
    """
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, not a valid name, a folder of zones
        zones = sorted(available_timezones())
        by_name = {zone.split("/")[-1].lower(): zone for zone in zones} | {zone.lower(): zone for zone in zones}
        mend = did_you_mean(name.lower(), by_name, "write one like UTC or America/New_York", by_name.__getitem__, 0.8)
        raise ValueError(f"there is no time zone {name!r}; {mend}") from None
    return name


def known_encoding(name: str) -> str:
    """Return the name if Python has such a text encoding. Raises ValueError.

    >>> known_encoding("cp12521")
    Traceback (most recent call last):
    ValueError: there is no encoding 'cp12521'; write one like utf-8, latin-1 or cp1252
    """
    try:
        "".encode(name)
    except LookupError:
        raise ValueError(f"there is no encoding {name!r}; write one like utf-8, latin-1 or cp1252") from None
    return name


def readable_format(written: str) -> str:
    """Return a strftime format, or a way to count time, if it determines the day. Raises ValueError.

    >>> readable_format("%H:%M")
    Traceback (most recent call last):
    ValueError: '%H:%M' has no day; write a format of strftime such as '%d/%m/%Y %H:%M'
    """
    if written in COUNTED:
        return written
    moment = datetime(2013, 7, 29, 5, 6, 7, tzinfo=UTC)  # a Monday
    day, pattern = with_weekday(written)
    try:
        read = datetime.strptime(moment.strftime(written) + day, pattern)
    except ValueError as error:
        raise ValueError(f"{written!r} cannot be read: {error}; write one such as '%d/%m/%Y %H:%M'") from None
    if read.date() != moment.date():
        raise ValueError(f"{written!r} has no day; write a format of strftime such as '%d/%m/%Y %H:%M'")
    return written


def with_weekday(written: str) -> tuple[str, str]:
    """Return suffixes for a time and its format that turn a week without a day into its Monday.

    >>> with_weekday("%G-W%V")
    ('-1', '%G-W%V-%u')
    """
    bare = "%V" in written and not any(day in written for day in ("%u", "%w", "%a", "%A"))
    return ("-1", f"{written}-%u") if bare else ("", written)
