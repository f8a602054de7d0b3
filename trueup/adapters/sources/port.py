"""The table that a source opens, and what all kinds of sources share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import pandas as pd
import pyarrow as pa
from pandas.api.types import is_datetime64_any_dtype

from trueup.config.sections.ingest import IngestConfig
from trueup.domain.data.clock import FIRST, LAST, Span, days_of, span_of
from trueup.domain.data.moments import event_moments, event_times
from trueup.domain.data.time_formats import with_zone
from trueup.errors import SourceError

Extent = tuple[datetime, datetime]
Mark = dict[str, Any]  # how far a source was written at a moment: plain values, kept and given to it again

# Text times are compared by their dates, so this much more is read on both sides: no time zone is further away.
TEXT_SLACK = timedelta(days=2)


class SourcePort(Protocol):
    """A table with event times. Times are without zone, in the config's time zone."""

    name: str  # for messages, without secrets

    def columns(self) -> list[str]:
        """The columns of the source."""

    def read(
        self, start: datetime, end: datetime, columns: Sequence[str] | None = None, text: Collection[str] = ()
    ) -> pd.DataFrame:
        """Rows of [start, end), in the source's order, with a fresh index: all columns, or those named.

        Columns in `text` stay text as written. A source without types, such as CSV, types the others by what all values of
        the window agree on. The time column is datetime64[us], with its zone where an hour occurs twice. Rows without a
        time belong to no window and come along with any window that has rows, so that they are counted. Raises SourceError.
        """

    def everything(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """All rows, in the source's order, with a fresh index; no column is taken for the time. Raises SourceError."""

    def span(self) -> Span | None:
        """First and last time, without the few that are not plausible; None without rows. Raises SourceError."""

    def extent(self) -> Extent | None:
        """First and last time of `span`. Raises SourceError."""
        span = self.span()
        return (span.first, span.last) if span else None

    def state(self) -> str | None:
        """Digest that is the same only if nothing has been written since; None if that is not known. Raises SourceError."""
        return None

    def mark(self) -> Mark | None:
        """How far the source has been written by now; None for a source that cannot know. Raises SourceError."""
        return None

    def written_since(self, mark: Mark) -> list[datetime]:
        """Distinct event times of the rows written since a mark was taken, and perhaps of some before. Raises SourceError."""
        del mark
        return []


def in_window(frame: pd.DataFrame, config: IngestConfig, start: datetime, end: datetime, source: str) -> pd.DataFrame:
    """Keep the rows of [start, end) and those without a time; the time column gets local times."""
    times, second = event_moments(frame[config.time], config, f"{source}: ingest.time")
    inside = (times >= start) & (times < end)
    keep = inside | times.isna() if inside.any() else inside
    local = frame.copy(deep=False)
    local[config.time] = with_zone(times, second, config.timezone) if (second & inside).any() else times
    return local if keep.all() else local[keep].reset_index(drop=True)


def with_instants(typed: pd.DataFrame, written: pa.Table, config: IngestConfig, source: str) -> pd.DataFrame:
    """Keep the zone of times if their text names it and an hour occurs twice: local times are ambiguous then."""
    if config.time not in typed or not is_datetime64_any_dtype(typed[config.time]):
        return typed
    times, second = event_moments(written[config.time].to_pandas(), config, f"{source}: ingest.time")
    return typed.assign(**{config.time: with_zone(times, second, config.timezone)}) if second.any() else typed


def span_by_day(days: pd.DataFrame, config: IngestConfig, source: str) -> Span | None:
    """The span of rows counted by day, with columns `first`, `last` and `rows`."""
    place = f"{source}: ingest.time"
    times = {name: event_times(days[name].rename(config.time), config, place) for name in (FIRST, LAST)}
    return span_of(days.assign(**times).dropna(subset=[FIRST, LAST]), config.period)


def span_by_time(times: pd.Series[Any], rows: pd.Series[int], config: IngestConfig, source: str) -> Span | None:
    """The span of rows counted by time."""
    local = event_times(times.rename(config.time), config, f"{source}: ingest.time")
    return span_of(days_of(local, rows), config.period)


def instants(start: datetime, end: datetime, zone: str) -> Extent:
    """The narrowest span of UTC that holds all local times of [start, end).

    A local time that occurs twice or never when the clocks change has two instants: the wider span is taken.

    >>> print(*instants(datetime(2013, 3, 10), datetime(2013, 3, 11), "America/New_York"))
    2013-03-10 05:00:00+00:00 2013-03-11 04:00:00+00:00
    """
    starts, ends = ([t.replace(tzinfo=ZoneInfo(zone), fold=f).astimezone(UTC) for f in (0, 1)] for t in (start, end))
    return min(starts), max(ends)


def check_columns(present: Sequence[str], needed: Sequence[str], source: str) -> None:
    """Refuse column names that occur twice, and needed columns that do not exist."""
    folded = [name.casefold() for name in present]
    if twice := sorted({name for name in present if folded.count(name.casefold()) > 1}):
        raise SourceError(
            f"{source}: column {' and '.join(twice)} occurs more than once (upper and lower case count as the same); "
            "give each column its own name"
        )
    if absent := [name for name in needed if name not in present]:
        raise SourceError(
            f"{source}: no column {', '.join(absent)}; there are {', '.join(present) or 'none at all'}. "
            "Correct the name in the config, or add the column to the source"
        )
