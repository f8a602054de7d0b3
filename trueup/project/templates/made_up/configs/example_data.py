"""Made-up orders of 20 weeks: the table of the example. Each day's rows depend on the day only."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd

FIRST, DAYS, PER_DAY = datetime(2025, 1, 6), 140, 120


def orders(start: datetime | None, end: datetime | None) -> pd.DataFrame:
    """Give the orders placed in [start, end); None is open."""
    days = [FIRST + timedelta(days=day) for day in range(DAYS)]
    wanted = [day for day in days if (start is None or day + timedelta(days=1) > start) and (end is None or day < end)]
    rows = pd.concat([_day(day) for day in wanted], ignore_index=True) if wanted else _day(FIRST).iloc[:0]
    keep = np.ones(len(rows), dtype=bool)
    if start is not None:
        keep &= (rows["ordered_at"] >= start).to_numpy()
    if end is not None:
        keep &= (rows["ordered_at"] < end).to_numpy()
    return rows[keep].reset_index(drop=True)


def _day(day: datetime) -> pd.DataFrame:
    rng = np.random.default_rng(day.toordinal())
    seconds = np.sort(rng.choice(86_400, size=PER_DAY, replace=False))
    warehouse = rng.choice(["north", "south", "harbour"], size=PER_DAY, p=[0.5, 0.3, 0.2])
    weight = np.round(rng.gamma(2.0, 3.0, size=PER_DAY), 1)
    distance = np.round(rng.gamma(2.0, 120.0, size=PER_DAY))
    express = rng.random(PER_DAY) < 0.25
    # Far and heavy is late, unless it goes by express; the harbour is slow on its own.
    odds = -2.2 + 0.004 * distance + 0.12 * weight + 1.1 * (warehouse == "harbour") - 2.5 * express * (distance > 200)
    late = rng.random(PER_DAY) < 1 / (1 + np.exp(-odds))
    return pd.DataFrame(
        {
            "order_id": [f"{day:%Y%m%d}-{number:03d}" for number in range(PER_DAY)],
            "ordered_at": [day + timedelta(seconds=int(second)) for second in seconds],
            "warehouse": warehouse,
            "weight_kg": weight,
            "distance_km": distance,
            "express": express.astype(int),
            "late": late.astype(int),
        }
    )
