"""The time span of a source's rows, robust to a few rows with a wrong date."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import pandas as pd

from trueup.config.value_checks import SHORTEST
from trueup.domain.data.periods import Period, period_of

ROWS: Final = "rows"
FIRST: Final = "first"
LAST: Final = "last"

_FEW = 0.05  # share of a median period's rows, and a minimum: fewer distant rows do not move the clock
_ALWAYS = 3
_REST = 30  # times as many rows must be on the other side
_FAR = 4  # times the 90 % quantile of gaps between days with rows


@dataclass(frozen=True)
class Span:
    """First and last plausible time of a source's rows. `before` and `after` count the rows outside."""

    first: datetime
    last: datetime
    before: int = 0
    after: int = 0
    earliest: datetime | None = None  # first of the rows before
    latest: datetime | None = None  # last of the rows after

    def __str__(self) -> str:
        """Describe the excluded rows; "" without any."""
        parts = [
            f"{rows:,} row{'s' if rows > 1 else ''} {side} {edge:%Y-%m-%d}, {reach} {end:%Y-%m-%d}, far from all others"
            for rows, end, side, reach, edge in (
                (self.before, self.earliest, "before", "back to", self.first),
                (self.after, self.latest, "after", "up to", self.last),
            )
            if rows and end is not None
        ]
        return " and ".join(parts)


def days_of(times: pd.Series[datetime], rows: pd.Series[int]) -> pd.DataFrame:
    """Count rows by day, as `span_of` takes them, from times without zone and the number of rows behind each."""
    frame = pd.DataFrame({FIRST: times.to_numpy(), ROWS: rows.to_numpy()}).dropna()
    by_day = frame.groupby(frame[FIRST].dt.floor("D").rename("day"))
    return by_day.agg(**{LAST: (FIRST, "max"), FIRST: (FIRST, "min"), ROWS: (ROWS, "sum")})


def span_of(days: pd.DataFrame, period: Period) -> Span | None:
    """Return the plausible span of a source, None without rows.

    `days` has the columns `first`, `last` (times without zone) and `rows`, one line for each day with rows. Rows at
    either end are excluded if they are few (at most a twentieth of a median period's rows, or three), if thirty times
    as many are on the other side, and if the gap between is longer than a period and than four times the 90 % quantile
    of gaps between days with rows. Once more rows arrive beside them, they count.

    >>> hourly = pd.Series(pd.date_range("2024-01-01", "2024-02-12 23:00", freq="h"))
    >>> times = pd.concat([hourly, pd.Series([pd.Timestamp("2025-01-10")])])
    >>> print(span_of(days_of(times, pd.Series(1, times.index)), "week"))
    1 row after 2024-02-12, up to 2025-01-10, far from all others
    """
    if not len(days):
        return None
    days = days.sort_values(FIRST)
    first, last = (days[c].to_numpy("datetime64[us]") for c in (FIRST, LAST))
    rows, gaps = days[ROWS].to_numpy(), first[1:] - last[:-1]
    limit = max(_ALWAYS, int(_FEW * _middle(days, period)))
    low, high = _head(rows, gaps, limit, period), len(rows) - _head(rows[::-1], gaps[::-1], limit, period)
    before, after = int(rows[:low].sum()), int(rows[high:].sum())
    return Span(
        first[low].item(),
        last[high - 1].item(),
        before,
        after,
        first[0].item() if before else None,
        last[-1].item() if after else None,
    )


def _middle(days: pd.DataFrame, period: Period) -> float:
    """The median number of rows of the periods with rows."""
    starts = {day: period_of(day, period).start for day in days[FIRST]}
    return float(days[ROWS].groupby(days[FIRST].map(starts)).sum().median())


def _head(rows: np.ndarray, gaps: np.ndarray, limit: int, period: Period) -> int:
    """How many days at the beginning are excluded."""
    total, upto = rows.sum(), np.cumsum(rows)
    for n in range(int(np.searchsorted(upto, limit, side="right")), 0, -1):
        if n >= len(rows) or total - upto[n - 1] < _REST * upto[n - 1]:
            continue
        usual = np.quantile(gaps[n:].astype(np.int64), 0.9) if len(gaps) > n else 0
        if gaps[n - 1] > np.timedelta64(max(SHORTEST[period], timedelta(microseconds=_FAR * usual))):
            return n
    return 0


def at_most(moment: datetime, now: datetime, first: datetime) -> datetime:
    """Limit a source's newest time to the wall clock, since planned rows have not happened, unless all rows are later."""
    return min(moment, now) if first <= now else moment
