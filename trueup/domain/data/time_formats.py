"""Formats of times: text in a strftime format, or numbers that count from some moment."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.config.value_checks import COUNTED, with_weekday

# Unit and origin of each way to count time. Excel's days have no zone, and begin a day
# early since Excel takes 1900 for a leap year.
_UNITS: Final[dict[str, tuple[Literal["s", "ms", "us", "ns", "D", "h"], datetime]]] = {
    "epoch s": ("s", datetime(1970, 1, 1)),
    "epoch ms": ("ms", datetime(1970, 1, 1)),
    "epoch us": ("us", datetime(1970, 1, 1)),
    "epoch ns": ("ns", datetime(1970, 1, 1)),
    "excel": ("D", datetime(1899, 12, 30)),
    "days": ("D", datetime(1970, 1, 1)),  # for tables without dates
    "hours": ("h", datetime(1970, 1, 1)),
}
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "D": 86_400.0, "h": 3_600.0}
COUNTED_FROM: Final = datetime(1900, 1, 1)  # earlier times are not accepted as counts
COUNTED_UNTIL: Final = datetime(2200, 1, 1)
_ZONED: Final = r"[T ].*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_NAMED: Final = r"\s*(?:UTC|GMT)$"
_FAR: Final = r"(?<!\d)(?:0\d{3}|1[0-6]\d\d|22[6-9]\d|2[3-9]\d\d|[3-9]\d{3})(?!\d)"  # years beyond nanoseconds


def counts(form: str | None) -> bool:
    """Whether a time format is a way to count time, such as `epoch ms`."""
    return form in COUNTED


def is_zoned(form: str) -> bool:
    """Whether times in a format are instants: with an offset, with a zone, or counted in UTC.

    >>> [is_zoned(f) for f in ("%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M:%S UTC", "%H:%M %d %b %Y %z", "epoch s", "excel")]
    [False, True, True, True, False]
    """
    return form.startswith("epoch") or "%z" in form.lower() or re.search(r"[\s\dSMf](?:UTC|GMT|Z)$", form) is not None


def read_texts(texts: pd.Series[Any], form: str | None) -> tuple[pd.Series[Any], pd.Series[bool]]:
    """Parse trimmed texts as UTC moments (NaT if they are no times), and mark those with a zone.

    Texts without a zone get their local time as if it were UTC. Without a format texts must be ISO 8601, optionally
    followed by a blank and UTC or GMT.
    """
    if form is not None and counts(form):
        return read_counts(_as_counts(texts), form), pd.Series(is_zoned(form), texts.index)
    if form is not None:
        day, pattern = with_weekday(form)
        dated = texts + day
        moments = pd.to_datetime(dated, format=pattern, errors="coerce", utc=True)
        return _with_far(moments, dated, lambda text: datetime.strptime(text, pattern)), pd.Series(
            is_zoned(form), texts.index
        )
    plain = texts.str.replace(_NAMED, "Z", regex=True)
    zoned = plain.str.contains(_ZONED).astype(bool)
    if zoned.all() or not zoned.any():
        return _iso(plain), zoned
    # Separately, because pandas 2.3 reads a time without zone with the offset of the previous one.
    return _iso(plain.where(zoned)).fillna(_iso(plain.mask(zoned))), zoned


def _iso(texts: pd.Series[Any]) -> pd.Series[Any]:
    texts = texts.where(texts.str.contains(r"\d", na=False))  # pandas takes "now" and "today" for times
    return _with_far(pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True), texts, datetime.fromisoformat)


def _with_far(moments: pd.Series[Any], texts: pd.Series[Any], read: Callable[[str], datetime]) -> pd.Series[Any]:
    """Add times beyond the years of nanoseconds: 9999-12-31 often means "no end"."""
    moments = moments.astype("datetime64[us, UTC]")
    unread = texts[moments.isna() & texts.notna()]
    far = {}
    for place, text in unread[unread.str.contains(_FAR, na=False)].items():
        with suppress(ValueError, OverflowError):
            moment = read(text)
            far[place] = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if far:
        moments = moments.mask(moments.index.isin(list(far)), pd.Series(far, dtype=moments.dtype))
    return moments


def read_counts(numbers: pd.Series[Any], form: str) -> pd.Series[Any]:
    """Convert numbers that count time to UTC moments, NaT for numbers outside these centuries.

    >>> read_counts(pd.Series([45292.5, 1.0]), "excel").dt.strftime("%Y-%m-%d %H:%M").tolist()
    ['2024-01-01 12:00', nan]
    """
    unit: Any
    unit, origin = _UNITS[form]  # pandas accepts hours, its type stubs do not
    first, last = count_of(COUNTED_FROM, form), count_of(COUNTED_UNTIL, form)
    sane = numbers.where((numbers >= first) & (numbers < last))
    moments = pd.to_datetime(sane, unit=unit, origin=pd.Timestamp(origin), errors="coerce", utc=True)
    rounded: pd.Series[Any] = moments.dt.round("ms" if unit == "D" else "us")  # Excel's days have about 11 decimals
    return rounded


def local_times(moments: pd.Series[Any], zoned: pd.Series[bool], zone: str) -> pd.Series[Any]:
    """Convert the result of `read_texts` to times without zone, in `zone` for those with a zone."""
    local: pd.Series[Any] = moments.dt.tz_localize(None).mask(zoned, moments.dt.tz_convert(zone).dt.tz_localize(None))
    return local


def count_of(moment: datetime, form: str) -> float:
    """Convert a moment without zone to a count of time."""
    unit, origin = _UNITS[form]
    return (moment - origin).total_seconds() / _SECONDS[unit]


def _as_counts(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Parse texts as numbers that count time; whole numbers keep all digits."""
    numbers = pd.to_numeric(texts.str.replace(",", ".", regex=False), errors="coerce")
    return numbers if numbers.dtype.kind in "iu" else numbers.astype(np.float64)


# The repeated hour

_LATER: Final = np.timedelta64(365_250, "D")


def second_pass(moments: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Mark moments with a zone in the second pass of an hour that clocks repeat in autumn."""
    local = moments.dt.tz_localize(None)
    dst = np.ones(len(local), dtype=bool)
    first = local.dt.tz_localize(moments.dt.tz, ambiguous=dst, nonexistent="shift_forward")
    second: npt.NDArray[np.bool_] = ((first != moments) & moments.notna()).to_numpy()
    return second


def no_such_time(times: pd.Series[Any], zone: str) -> int:
    """Count times without zone that the clocks of a zone skip in spring."""
    dst = np.ones(len(times), dtype=bool)
    there = times.dt.tz_localize(zone, ambiguous=dst, nonexistent="NaT")
    return int((there.isna() & times.notna()).sum())


def with_zone(times: pd.Series[Any], second: npt.NDArray[np.bool_], zone: str) -> pd.Series[Any]:
    """Attach the zone to local times, so that those of a second pass become distinct instants."""
    zoned: pd.Series[Any] = times.dt.tz_localize(zone, ambiguous=~second, nonexistent="shift_forward")
    return zoned


def naming(times: pd.Series[Any], second: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """Return times that identify rows: those of a second pass are shifted by a thousand years."""
    if not second.any():
        return times
    named = times.to_numpy().copy()
    named[second] += _LATER
    return pd.Series(named, times.index, name=times.name)
