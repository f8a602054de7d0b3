"""How a loop over a new table is paced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil
from typing import Any

import pandas as pd

from trueup.domain.periods import Period
from trueup.domain.profile.times import choose_period

_BLOCKS = (1440, 720, 480, 360, 240, 180, 120, 60, 30, 5)  # minutes
_WINDOWS = (timedelta(days=7), timedelta(days=28))  # of histories


@dataclass(frozen=True)
class Spans:
    """How the loop is paced."""

    period: Period
    rows: float  # median of a batch
    min_history: timedelta
    gate_window: timedelta
    min_new_days: int
    block: timedelta
    stale_after: timedelta
    windows: tuple[timedelta, ...]


def pace_of(when: pd.Series[Any], wished: Period | None, takes: timedelta) -> Spans:
    """Windows that a batch's length and the length of the whole table allow.

    Where outcomes take longer than a batch, a model knows nothing of as long a span before its gate window, and neither does a fold
    of the search before it: twice that span more of history is waited for, however short the
    table is: with less there can be no champion, as its rehearsal says.
    """
    period, median = choose_period(when)
    if wished is not None and wished != period:
        frequency = {"day": "D", "week": "W-SUN", "month": "M"}[wished]
        period, median = wished, float(when.dt.to_period(frequency).value_counts().median())
    whole = max((when.max() - when.min()).days, 1)
    history, gate, new, stale = {"day": (14, 7, 4, 7), "week": (28, 14, 7, 28), "month": (56, 14, 20, 30)}[period]
    unit = {"day": 1, "week": 7, "month": 28}[period]
    history = max(min(history, whole // 3), unit)
    gate = max(min(gate, whole // 6), min(unit, gate))
    history += 2 * ceil(takes / timedelta(days=1)) if takes > timedelta(days=unit) else 0
    limit = min(timedelta(days=unit), timedelta(days=gate), timedelta(days=new) / 2) / 10
    block = next(timedelta(minutes=m) for m in _BLOCKS if timedelta(minutes=m) <= limit)
    return Spans(
        period, median, timedelta(days=history), timedelta(days=gate), new, block, timedelta(days=stale), _WINDOWS
    )
