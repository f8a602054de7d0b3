"""Chooses the rows of the champion's training window that a batch is compared with.

Three kinds of features differ from batch to batch without a change of the world:

- Calendar parts with a cycle longer than a batch (the month of a week's rows, the weekday of a day's) are fixed by the
  batch and left out.
- A feature of a trailing window uses earlier rows: it is complete only a window after the training began, and
  two batches within one window share rows, so they do not count as two.
- Seasonal features are compared with the same phase of the season, if the reference has enough of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import pandas as pd

from trueup.config.sections.features import FeaturesConfig
from trueup.domain.data.periods import Period, numbers
from trueup.domain.features.features import FeatureSchema
from trueup.domain.features.history import reaches
from trueup.domain.monitoring.cells import values_of
from trueup.domain.monitoring.movement import Ints
from trueup.domain.types import EVENT_TIME, Window

_LENGTH = {"day": timedelta(days=1), "week": timedelta(days=7), "month": timedelta(days=30)}
_CYCLE = {
    "minute_of_day": timedelta(days=1),
    "hour": timedelta(days=1),
    "weekday": timedelta(days=7),
    "weekend": timedelta(days=7),
    "day": timedelta(days=30),
    "month": timedelta(days=365),
    "day_of_year": timedelta(days=365),
}
_TWO_YEARS = timedelta(days=700)  # within a month
_WEEKS = timedelta(days=27)  # four of each weekday
_PHASE_BLOCKS, _PHASE_ROWS = 4, 200  # fewer rows do not show a phase


@dataclass(frozen=True)
class Reference:
    """Rows to compare a batch with, each with the number of its block (n,), as long as a batch if possible.

    `rows` are of the `phase` ("" for all), `all_rows` of any phase: a category of another phase is not new. For a feature
    of a trailing window `since` marks the rows (n,) of `rows` that have it completely, and `independent` how many
    independent blocks they make. `at` is the number of the batch as a block, None if the blocks' numbers do not count
    time. `weeks` are those before the batch (n,) of all `all_rows`, 0 its own and -1 the newest, if the phase is only
    the weekday: slow movements show in a week's rows before they show in a day's.
    """

    rows: pd.DataFrame
    blocks: Ints
    all_rows: pd.DataFrame
    phase: str = ""
    since: Mapping[str, np.ndarray] = field(default_factory=dict)
    independent: Mapping[str, float] = field(default_factory=dict)
    at: int | None = None
    weeks: Ints | None = None

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Reference:
        """Compare with rows that only belong together."""
        return cls(rows, np.zeros(len(rows), dtype=np.intp), rows)

    def column(self, name: str) -> tuple[pd.Series, Ints]:
        """The values of a column that count, and their blocks."""
        values, kept = values_of(self.rows, name), self.since.get(name)
        return (values, self.blocks) if kept is None else (values[kept], self.blocks[kept])

    @property
    def complete(self) -> pd.DataFrame:
        """The rows that have all features of trailing windows completely; all rows if these are too few."""
        kept = np.ones(len(self.rows), dtype=bool)
        for complete in self.since.values():
            kept &= complete
        return self.rows[kept] if kept.sum() >= _PHASE_ROWS else self.rows

    @property
    def counted(self) -> pd.DataFrame:
        """The rows without values that count as missing."""
        return self.rows.assign(**{c: values_of(self.rows, c).where(kept) for c, kept in self.since.items()})


def compared(schema: FeatureSchema, features: FeaturesConfig, period: Period) -> FeatureSchema:
    """The features to compare: all but calendar parts that the batch's period fixes."""
    fixed = {
        f"{column}_{part}"
        for column, parts in features.calendar.items()
        for part in parts
        if _LENGTH[period] < _CYCLE[part]
    }
    return FeatureSchema(tuple(c for c in schema.numeric if c not in fixed), schema.categorical)


def reference_for(rows: pd.DataFrame, features: FeaturesConfig, window: Window, period: Period) -> Reference:
    """Choose rows to compare a batch with from a sample of training rows (with `event_time`)."""
    times = rows[EVENT_TIME]
    phase, chosen, seasonal = _phase(times, window, period)
    kept, moments = rows[chosen], times[chosen]
    start, end = times.min(), times.max()
    since, independent = dict[str, np.ndarray](), dict[str, float]()
    for name, reach in reaches(features.history).items():
        since[name] = (moments >= start + reach).to_numpy()
        independent[name] = max(0.0, (end - start - reach) / max(reach, _LENGTH[period]))
    length = _length(moments, period)
    at = int(numbers(pd.Series([window.start]), length)[0])
    weeks = _weeks(times, window) if period == "day" and phase and not seasonal else None
    return Reference(kept, numbers(moments, length), rows, phase, since, independent, at, weeks)


def _weeks(times: pd.Series, window: Window) -> Ints:
    """How many weeks before the batch each row is, counted back from the end; each whole week has one of each weekday."""
    end = max(times.max().normalize() + pd.Timedelta(days=1), times.min())
    back = (end - times) // pd.Timedelta(days=7)
    gap = (pd.Timestamp(window.start) - end) // pd.Timedelta(days=7)
    whole = (end - times.min()) // pd.Timedelta(days=7)
    return np.where(back < whole, -1 - gap - back, np.iinfo(np.intp).min).astype(np.intp)


def _length(times: pd.Series, period: Period) -> Period:
    """The length of the blocks: that of a batch or, for a short training, one that leaves enough of them.

    Shorter blocks move more, not less, so their limits are wide rather than narrow.
    """
    periods: tuple[Period, ...] = ("month", "week", "day")
    for shorter in periods[periods.index(period) :]:
        if len(np.unique(numbers(times, shorter))) >= _PHASE_BLOCKS:
            return shorter
    return period


def _phase(times: pd.Series, window: Window, period: Period) -> tuple[str, np.ndarray, bool]:
    """The narrowest phase with enough blocks, its rows (n,), and whether it is of the year's season."""
    for name, chosen, seasonal in _phases(times, window, period):
        if chosen.sum() >= _PHASE_ROWS and len(np.unique(numbers(times[chosen], period))) >= _PHASE_BLOCKS:
            return name, chosen, seasonal
    return "", np.ones(len(times), dtype=bool), False


def _phases(times: pd.Series, window: Window, period: Period) -> Iterator[tuple[str, np.ndarray, bool]]:
    span = times.max() - times.min()
    middle = window.start + (window.end - window.start) / 2
    apart = (times.dt.month - middle.month).abs().to_numpy()
    apart = np.minimum(apart, 12 - apart)
    same_day = (times.dt.weekday == window.start.weekday()).to_numpy()
    month, season = f"{middle:%B}", f"{middle:%B} and the months beside it"
    if period == "day":
        day = f"{window.start:%A}s"
        if span >= _TWO_YEARS:
            yield f"{day} of {month}", same_day & (apart == 0), True
            yield f"{day} of {season}", same_day & (apart <= 1), True
        if span >= _WEEKS:
            yield day, same_day, False
    elif span >= _TWO_YEARS:
        yield month, apart == 0, True
        yield season, apart <= 1, True
