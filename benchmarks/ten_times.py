"""Ten times the flights: each one of the year occurs ten times, under other flight numbers.

`overhead` copies this file beside a config and uses it as the source.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
import nycflights
import pandas as pd

COPIES = 10
_APART = 10_000  # more than there are flight numbers


def flights(start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """The flights of [start, end), ten of each."""
    once = nycflights.flights(start, end)
    order = np.argsort(np.tile(once["scheduled"].to_numpy(), COPIES), kind="stable")
    rows = once.take(
        order % max(len(once), 1)
    )  # at once: copies of the whole month beside it would be the largest thing in memory
    rows.index = pd.RangeIndex(len(rows))
    rows["flight"] += _APART * (order // max(len(once), 1))
    return rows


flights.extent = nycflights.flights.extent  # type: ignore[attr-defined]
