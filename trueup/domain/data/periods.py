"""Calendar periods as half-open windows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.domain.types import Window

Period = Literal["day", "week", "month"]
FREQUENCY: Final = {"day": "D", "week": "W-SUN", "month": "M"}
LONGEST: Final = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=31)}


def period_of(moment: datetime, period: Period) -> Window:
    """Return the calendar period that contains a moment; weeks start on Monday, and the last one ends at `datetime.max`.

    >>> print(period_of(datetime(2013, 2, 14), "month"))
    [2013-02-01, 2013-03-01)
    """
    start = datetime(moment.year, moment.month, 1 if period == "month" else moment.day)
    if period == "week":
        start -= timedelta(days=start.weekday())
    try:
        end = start + LONGEST[period]
    except OverflowError:
        return Window(start, datetime.max)
    return Window(start, end.replace(day=1) if period == "month" else end)


def complete_periods(start: datetime, end: datetime, period: Period) -> list[Window]:
    """List the periods from the one that contains `start` to the last that ends at or before `end`."""
    windows, window = [], period_of(start, period)
    while window.end <= end and window.end < datetime.max:
        windows.append(window)
        window = period_of(window.end, period)
    return windows


def year_before(window: Window, period: Period) -> Window:
    """The period of the same season a year earlier: the same month, or 52 weeks before, with the same weekdays.

    >>> print(year_before(period_of(datetime(2014, 6, 3), "month"), "month"))
    [2013-06-01, 2013-07-01)
    >>> print(year_before(period_of(datetime(2014, 6, 3), "day"), "day"))
    [2013-06-04, 2013-06-05)
    """
    start = (
        window.start.replace(year=window.start.year - 1) if period == "month" else window.start - timedelta(days=364)
    )
    return period_of(start, period)


def numbers(times: pd.Series[Any], period: Period) -> npt.NDArray[np.intp]:
    """Number the periods of moments (n,) consecutively."""
    return np.asarray(times.dt.to_period(FREQUENCY[period]).astype("int64"), dtype=np.intp)
