"""How times are written: as text in a format, or as numbers that count from some moment."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.config.value_checks import COUNTED, with_weekday

# Of each way to count time: its unit, and the moment from which it counts. Excel's days have no zone, and begin a day
# early since Excel takes 1900 for a leap year.
_UNITS: Final[dict[str, tuple[Literal["s", "ms", "us", "ns", "D", "h"], datetime]]] = {
    "epoch s": ("s", datetime(1970, 1, 1)),
    "epoch ms": ("ms", datetime(1970, 1, 1)),
    "epoch us": ("us", datetime(1970, 1, 1)),
    "epoch ns": ("ns", datetime(1970, 1, 1)),
    "excel": ("D", datetime(1899, 12, 30)),
    "days": ("D", datetime(1970, 1, 1)),  # of a table that numbers them and names no date
    "hours": ("h", datetime(1970, 1, 1)),
}
_SECONDS: Final = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "D": 86_400.0, "h": 3_600.0}
COUNTED_FROM: Final = datetime(1900, 1, 1)  # a count of an earlier time is none
COUNTED_UNTIL: Final = datetime(2200, 1, 1)
_ZONED: Final = r"[T ].*(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_NAMED: Final = r"\s*(?:UTC|GMT)$"


def counts(form: str | None) -> bool:
    """Say whether a format of times is a way to count them, such as `epoch ms`."""
    return form in COUNTED


def is_zoned(form: str) -> bool:
    """Say whether times in a format name an instant: by an offset, by a zone, or as they are counted in UTC.

    >>> [is_zoned(f) for f in ("%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M:%S UTC", "%H:%M %d %b %Y %z", "epoch s", "excel")]
    [False, True, True, True, False]
    """
    return form.startswith("epoch") or "%z" in form.lower() or re.search(r"[\s\dSMf](?:UTC|GMT|Z)$", form) is not None


def read_texts(texts: pd.Series[Any], form: str | None) -> tuple[pd.Series[Any], pd.Series[bool]]:
    """Read trimmed texts as UTC moments, NaT where they are none, and say which of them name their zone.

    Those that name none have the local time as if it were UTC. Without a format they are ISO 8601, also with a blank
    and UTC or GMT behind it.
    """
    if form is not None and counts(form):
        return read_counts(_as_counts(texts), form), pd.Series(is_zoned(form), texts.index)
    if form is not None:
        day, pattern = with_weekday(form)
        moments = pd.to_datetime(texts + day, format=pattern, errors="coerce", utc=True)
        return moments, pd.Series(is_zoned(form), texts.index)
    plain = texts.str.replace(_NAMED, "Z", regex=True)
    zoned = plain.str.contains(_ZONED).astype(bool)
    if zoned.all() or not zoned.any():
        return _iso(plain), zoned
    # Each kind by itself: pandas 2.3 gives a time without zone the offset of the one before it.
    return _iso(plain.where(zoned)).fillna(_iso(plain.mask(zoned))), zoned


def _iso(texts: pd.Series[Any]) -> pd.Series[Any]:
    return pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)


def read_counts(numbers: pd.Series[Any], form: str) -> pd.Series[Any]:
    """Read numbers that count time as UTC moments, NaT where there is none or it is no time of these centuries.

    >>> read_counts(pd.Series([45292.5, 1.0]), "excel").dt.strftime("%Y-%m-%d %H:%M").tolist()
    ['2024-01-01 12:00', nan]
    """
    unit: Any
    unit, origin = _UNITS[form]  # pandas knows hours, and its types do not
    first, last = count_of(COUNTED_FROM, form), count_of(COUNTED_UNTIL, form)
    sane = numbers.where((numbers >= first) & (numbers < last))
    moments = pd.to_datetime(sane, unit=unit, origin=pd.Timestamp(origin), errors="coerce", utc=True)
    rounded: pd.Series[Any] = moments.dt.round(
        "ms" if unit == "D" else "us"
    )  # a day of Excel has about 11 digits behind the point
    return rounded


def local_times(moments: pd.Series[Any], zoned: pd.Series[bool], zone: str) -> pd.Series[Any]:
    """Bring what `read_texts` gave to times without zone: those that name theirs as they are in `zone`."""
    local: pd.Series[Any] = moments.dt.tz_localize(None).mask(zoned, moments.dt.tz_convert(zone).dt.tz_localize(None))
    return local


def count_of(moment: datetime, form: str) -> float:
    """Write a moment without zone as a count of time."""
    unit, origin = _UNITS[form]
    return (moment - origin).total_seconds() / _SECONDS[unit]


def _as_counts(texts: pd.Series[Any]) -> pd.Series[Any]:
    """Read texts as the numbers that count time; whole ones keep all their digits."""
    numbers = pd.to_numeric(texts.str.replace(",", ".", regex=False), errors="coerce")
    return numbers if numbers.dtype.kind in "iu" else numbers.astype(np.float64)


# An hour that comes twice

_LATER: Final = np.timedelta64(365_250, "D")


def second_pass(moments: pd.Series[Any]) -> npt.NDArray[np.bool_]:
    """Say which moments with a zone lie in the second pass of an hour that the clocks there repeat in autumn."""
    local = moments.dt.tz_localize(None)
    dst = np.ones(len(local), dtype=bool)
    first = local.dt.tz_localize(moments.dt.tz, ambiguous=dst, nonexistent="shift_forward")
    second: npt.NDArray[np.bool_] = ((first != moments) & moments.notna()).to_numpy()
    return second


def no_such_time(times: pd.Series[Any], zone: str) -> int:
    """Count times without zone that the clocks of a zone leave out in spring."""
    dst = np.ones(len(times), dtype=bool)
    there = times.dt.tz_localize(zone, ambiguous=dst, nonexistent="NaT")
    return int((there.isna() & times.notna()).sum())


def with_zone(times: pd.Series[Any], second: npt.NDArray[np.bool_], zone: str) -> pd.Series[Any]:
    """Give local times their zone again, so that those of a second pass are instants of their own."""
    zoned: pd.Series[Any] = times.dt.tz_localize(zone, ambiguous=~second, nonexistent="shift_forward")
    return zoned


def naming(times: pd.Series[Any], second: npt.NDArray[np.bool_]) -> pd.Series[Any]:
    """Give times that name rows: those of a second pass are a thousand years later, for all else they are the same."""
    if not second.any():
        return times
    named = times.to_numpy().copy()
    named[second] += _LATER
    return pd.Series(named, times.index, name=times.name)
