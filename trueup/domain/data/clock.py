"""The data's own clock: from when until when a source's rows reach, when a few of them have a wrong date."""

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

_FEW = 0.05  # of the rows of a middle period, and always this many: so few, far from all others, do not move the clock
_ALWAYS = 3
_REST = 30  # times as many rows must lie on the other side
_FAR = 4  # times the gap that nine of ten days with rows keep from the next one


@dataclass(frozen=True)
class Span:
    """From the first to the last plausible time of a source's rows; `before` and `after` are rows outside, set aside."""

    first: datetime
    last: datetime
    before: int = 0
    after: int = 0
    earliest: datetime | None = None  # of the rows before
    latest: datetime | None = None  # of the rows after

    def __str__(self) -> str:
        """Say which rows are set aside, and why; nothing where none is."""
        said = [
            f"{rows:,} row{'s' if rows > 1 else ''} {side} {edge:%Y-%m-%d}, {reach} {end:%Y-%m-%d}, far from all others"
            for rows, end, side, reach, edge in (
                (self.before, self.earliest, "before", "back to", self.first),
                (self.after, self.latest, "after", "up to", self.last),
            )
            if rows and end is not None
        ]
        return " and ".join(said)


def days_of(times: pd.Series[datetime], rows: pd.Series[int]) -> pd.DataFrame:
    """Count rows by day: from times without zone, and how many rows each stands for, the frame that `span_of` takes."""
    frame = pd.DataFrame({FIRST: times.to_numpy(), ROWS: rows.to_numpy()}).dropna()
    by_day = frame.groupby(frame[FIRST].dt.floor("D").rename("day"))
    return by_day.agg(**{LAST: (FIRST, "max"), FIRST: (FIRST, "min"), ROWS: (ROWS, "sum")})


def span_of(days: pd.DataFrame, period: Period) -> Span | None:
    """Give the plausible span of a source, None without rows.

    `days` has the columns `first`, `last` (times without zone) and `rows`, one line for each day with rows. Rows at
    either end are set aside when they are few (at most a twentieth of the rows of a middle period, or three), when thirty
    times as many lie on the other side, and when the gap between is longer than a period and than four times the gap
    that nine of ten days with rows keep. As rows come in beside them they are few no more, and count.

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
    """The rows of a middle period that has some."""
    starts = {day: period_of(day, period).start for day in days[FIRST]}
    return float(days[ROWS].groupby(days[FIRST].map(starts)).sum().median())


def _head(rows: np.ndarray, gaps: np.ndarray, limit: int, period: Period) -> int:
    """How many days at the beginning are set aside."""
    total, upto = rows.sum(), np.cumsum(rows)
    for n in range(int(np.searchsorted(upto, limit, side="right")), 0, -1):
        if n >= len(rows) or total - upto[n - 1] < _REST * upto[n - 1]:
            continue
        usual = np.quantile(gaps[n:].astype(np.int64), 0.9) if len(gaps) > n else 0
        if gaps[n - 1] > np.timedelta64(max(SHORTEST[period], timedelta(microseconds=_FAR * usual))):
            return n
    return 0


def at_most(moment: datetime, now: datetime, first: datetime) -> datetime:
    """A source's newest time, by a clock on the wall: what is planned for later has not happened; unless all of it is."""
    return min(moment, now) if first <= now else moment
