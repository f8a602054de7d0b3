"""Calendar periods as half-open windows."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.domain.data.types import Window

Period = Literal["day", "week", "month"]
FREQUENCY: Final = {"day": "D", "week": "W-SUN", "month": "M"}


def period_of(moment: datetime, period: Period) -> Window:
    """Return the calendar period that contains a moment; weeks start on Monday.

    >>> print(period_of(datetime(2013, 2, 14), "month"))
    [2013-02-01, 2013-03-01)
    """
    span = pd.Period(moment, freq=FREQUENCY[period])
    return Window(span.start_time.to_pydatetime(), (span + 1).start_time.to_pydatetime())


def complete_periods(start: datetime, end: datetime, period: Period) -> list[Window]:
    """List the periods from the one that contains `start` to the last that ends at or before `end`."""
    edges = pd.period_range(start, end, freq=FREQUENCY[period]).start_time.to_pydatetime()
    return [Window(a, b) for a, b in pairwise(edges)]


def numbers(times: pd.Series[Any], period: Period) -> npt.NDArray[np.intp]:
    """Number the periods of moments (n,) consecutively."""
    return np.asarray(times.dt.to_period(FREQUENCY[period]).astype("int64"), dtype=np.intp)
