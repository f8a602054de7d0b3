"""How a loop over a new table is paced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pandas as pd

from trueup.domain.periods import Period
from trueup.domain.profile.times import choose_period

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
    of the search before it: twice that span more of history is waited for.
    """
    period, median = choose_period(when)
    if wished is not None and wished != period:
        frequency = {"day": "D", "week": "W-SUN", "month": "M"}[wished]
        period, median = wished, float(when.dt.to_period(frequency).value_counts().median())
    whole = max((when.max() - when.min()).days, 1)
    history, gate, new, stale = {"day": (14, 7, 4, 7), "week": (28, 14, 7, 28), "month": (56, 28, 28, 60)}[period]
    unit = {"day": 1, "week": 7, "month": 28}[period]
    history = max(min(history, whole // 3), unit)
    gate = max(min(gate, whole // 6), unit)
    history += 2 * takes.days if takes.days > unit else 0
    limit = min(timedelta(days=unit), timedelta(days=gate), timedelta(days=new) / 2) / 10
    block = next(
        b
        for b in (
            timedelta(days=1),
            *(timedelta(hours=h) for h in (12, 8, 6, 4, 3, 2, 1)),
            timedelta(minutes=30),
            timedelta(minutes=5),
        )
        if b <= limit
    )
    return Spans(
        period,
        median,
        timedelta(days=history),
        timedelta(days=gate),
        new,
        block,
        timedelta(days=stale),
        _WINDOWS,
    )
