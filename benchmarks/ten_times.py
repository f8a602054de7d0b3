"""Ten times the flights: each one of the year occurs ten times, under other flight numbers.

`overhead` copies this file beside a config and uses it as the source.
"""

from __future__ import annotations

from datetime import datetime

import nycflights
import pandas as pd

COPIES = 10
_APART = 10_000  # more than there are flight numbers


def flights(start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """The flights of [start, end), ten of each."""
    once = nycflights.flights(start, end)
    copies = [once.assign(flight=once["flight"] + _APART * k) for k in range(COPIES)]
    return pd.concat(copies, ignore_index=True).sort_values("scheduled", kind="stable", ignore_index=True)


flights.extent = nycflights.flights.extent  # type: ignore[attr-defined]
