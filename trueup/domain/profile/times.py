"""How the times of a column are written: by which format, in which order, and with which gaps."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import numpy as np
import pandas as pd
from pandas.api import types as dtypes

from trueup.domain.landing import as_numbers, as_text
from trueup.domain.periods import Period

Unit = Literal["day number", "s", "ms"]

_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%d %b %Y", "%d-%b-%Y", "%b %d %Y", "%b %d, %Y", "%d/%m/%y", "%m/%d/%y", "%Y%m%d")  # fmt: skip
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f")
FORMATS = tuple(date + clock for date in _DATES for clock in _CLOCKS)
_LOOK = 400  # distinct values that decide which formats are worth trying on all
_MANY = 120  # batches from which a longer period is taken: each has its cost
_ENOUGH = 200  # rows of a batch from which its figures say something


@dataclass(frozen=True)
class Times:
    """The moments of a column, and how they were written.

    `formats` is empty where all are ISO 8601; `iso` says whether some are. `twin` is the format that reads the same
    texts otherwise (day and month changed), where nothing in the texts decides between the two.
    """

    moments: pd.Series[Any]  # datetime64[us], without zone; NaT where missing or unreadable
    formats: tuple[str, ...]
    iso: bool
    unit: Unit | None
    twin: str | None
    zoned: bool
    unreadable: int
    examples: tuple[str, ...]

    @property
    def plain(self) -> bool:
        """Whether they can be read without being told how."""
        return not self.formats and self.unit is None and not self.unreadable


@dataclass(frozen=True)
class Gap:
    """A span without rows that is longer than the others."""

    start: pd.Timestamp
    end: pd.Timestamp


def read_times(column: pd.Series[Any], zone: str = "UTC") -> Times:
    """Find out how a column's times are written. What cannot be read becomes missing, and is counted.

    Times with a zone are brought to `zone`, as landing does.
    """
    if dtypes.is_datetime64_any_dtype(column):
        zoned = column.dt.tz is not None
        local = column.dt.tz_convert(zone).dt.tz_localize(None) if zoned else column
        return Times(local.astype("datetime64[us]"), (), True, None, None, zoned, 0, ())
    if (numbers := as_numbers(column)) is not None:
        return _of_numbers(numbers)
    text = as_text(column)
    codes, values = pd.factorize(text)
    written = pd.Series(values, dtype=object).astype(str).str.strip()
    instants = pd.to_datetime(written, format="ISO8601", errors="coerce", utc=True)
    with_zone = written.str.contains(r"[T ].*(?:Z|[+-]\d{2}:?\d{2})$")
    moments = instants.dt.tz_localize(None).mask(with_zone, instants.dt.tz_convert(zone).dt.tz_localize(None))
    zoned = bool(with_zone.any())
    iso, twin = bool(moments.notna().any()), None
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    formats: list[str] = []
    while len(formats) < 3 and (left := moments.isna().to_numpy()).any():
        best = _best(written[left], counts[left])
        if best is None:
            break
        name, read, other = best
        twin = twin or other
        formats.append(name)
        moments = moments.fillna(read)
    bad = moments.isna().to_numpy()
    everything = np.append(moments.to_numpy("datetime64[us]"), np.datetime64("NaT"))[codes]
    return Times(
        pd.Series(everything, index=column.index, name=column.name),
        tuple(formats),
        iso,
        None,
        twin,
        zoned,
        int(counts[bad].sum()),
        tuple(written[bad].head(3)),
    )


def _of_numbers(numbers: pd.Series[Any]) -> Times:
    """Days written as 20240131, or seconds or milliseconds since 1970."""
    middle = float(numbers.median())
    options: dict[Unit, tuple[float, float]] = {
        "day number": (19000101, 21001231),
        "s": (3e8, 4.2e9),
        "ms": (3e11, 4.2e12),
    }
    unit = next((u for u, (low, high) in options.items() if low <= middle <= high), None)
    if unit is None:
        nothing = pd.Series(pd.NaT, index=numbers.index, dtype="datetime64[us]")
        first = tuple(f"{n:g}" for n in numbers.dropna().head(3))
        return Times(nothing, (), False, None, None, False, int(numbers.notna().sum()), first)
    if unit == "day number":
        text = numbers.astype("Int64").astype("string")
        moments = pd.to_datetime(text, format="%Y%m%d", errors="coerce")
    else:
        moments = pd.to_datetime(numbers, unit=unit, errors="coerce")
    bad = int((moments.isna() & numbers.notna()).sum())
    return Times(moments.astype("datetime64[us]"), (), False, unit, None, False, bad, ())


def _best(written: pd.Series[Any], counts: Any) -> tuple[str, pd.Series[Any], str | None] | None:
    """The format that reads most of some texts, what it makes of them, and the one that could as well be meant."""
    step = max(len(written) // _LOOK, 1)
    look = written.iloc[::step]
    worth = [f for f in FORMATS if pd.to_datetime(look, format=f, errors="coerce").notna().any()]
    read = {f: pd.to_datetime(written, format=f, errors="coerce") for f in worth}
    if not read:
        return None
    score = {f: int(counts[r.notna().to_numpy()].sum()) for f, r in read.items()}
    most = max(score.values())
    tied = [f for f in worth if score[f] == most]
    # Of two that read everything, the one by which the file is better in order: a table is written as time goes on.
    tied.sort(key=lambda f: (disorder(read[f]), f.startswith("%m")))
    other = tied[1] if len(tied) > 1 and not _decided(read[tied[0]], read[tied[1]]) else None
    return tied[0], read[tied[0]], other


def _decided(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether the first is in better order than the second by more than chance makes it."""
    better, worse, steps = disorder(one), disorder(other), max(int(one.notna().sum()) - 1, 1)
    chance = np.sqrt((better * (1 - better) + worse * (1 - worse)) / steps)
    return bool(worse - better > max(0.02, 2 * chance))


def disorder(moments: pd.Series[Any]) -> float:
    """The share of steps that go back in time."""
    steps = moments.dropna().diff().dropna()
    return float((steps < pd.Timedelta(0)).mean()) if len(steps) else 0.0


def choose_period(moments: pd.Series[Any]) -> tuple[Period, float]:
    """The shortest calendar period that gives batches enough rows, and the median of its rows.

    With fewer than six batches of it the next shorter one is taken: nothing can be watched over four batches.
    """
    known = moments.dropna()
    frequency: dict[Period, str] = {"day": "D", "week": "W-SUN", "month": "M"}
    rows = {p: known.dt.to_period(f).value_counts() for p, f in frequency.items()}
    median = {p: float(r.median()) if len(r) else 0.0 for p, r in rows.items()}
    fitting: list[Period] = [p for p in frequency if median[p] >= _ENOUGH and len(rows[p]) <= _MANY]
    chosen: Period = fitting[0] if fitting else "month"
    shorter: dict[Period, Period] = {"month": "week", "week": "day"}
    while chosen in shorter and len(rows[chosen]) < 6:
        chosen = shorter[chosen]
    return chosen, median[chosen]


def gaps(moments: pd.Series[Any], period: Period) -> list[Gap]:
    """Spans without any row that are longer than two batches."""
    longest = {"day": timedelta(days=2), "week": timedelta(days=14), "month": timedelta(days=62)}[period]
    known = moments.dropna().drop_duplicates().sort_values().reset_index(drop=True)
    step = known.diff()
    return [Gap(known[i - 1], known[i]) for i in step.index[step > longest]]
