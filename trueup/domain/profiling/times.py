"""Detects the formats, the order and the gaps of a column of times."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.domain.data.periods import Period
from trueup.domain.data.time_formats import is_zoned, local_times, read_texts, second_pass
from trueup.domain.data.values import as_numbers, as_text

_DATES = ("%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y-%m-%d", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%d%b%Y", "%d %B %Y", "%b %d %Y", "%b %d, %Y", "%B %d, %Y", "%d/%b/%Y", "%a, %d %b %Y", "%A, %d %B %Y", "%A, %B %d, %Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%Y%m%d", "%G-W%V-%u", "%G-W%V")  # fmt: skip
_CLOCKS = (
    "", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H:%M:%S.%f", " %H:%M:%S,%f", " %I.%M.%S %p", " %I.%M.%S.%f %p",
    " %H.%M.%S", " %H.%M", " %Hh%M", "T%H:%M:%S", ", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", ":%H:%M:%S", " %H%M%S",
)  # fmt: skip
_OTHERS = (
    "%a %b %d %H:%M:%S %Y",
    "%H:%M %d/%m/%Y",
    "%H:%M:%S %d/%m/%Y",
    "%H:%M %d.%m.%Y",
    "%Y%m%d%H%M%S",
    "%Y%m%d%H%M",
)
FORMATS = (*(date + clock for date in _DATES for clock in _CLOCKS), *_OTHERS)
_ZONE_BEHIND = r"\d[:.]\d{2}.*?(\s*)(UTC|GMT|Z|[+-]\d{2}:?\d{2})$"
_EXCEL = (20_000, 80_000)  # days of a spreadsheet, from 1954 to 2119
_STEPS, _LAST_DAY = 60, 84_000  # fewest distinct values of a counter, which ends before 2200
_MOST = 0.95
_WORDS = 10  # distinct texts that are not times and may be listed one by one
_LOOK = 400  # distinct values that choose the formats to try on all
_MANY = 120  # the most batches before a longer period is chosen
_ENOUGH = 200  # rows of a meaningful batch


@dataclass(frozen=True)
class Times:
    """The moments of a column, and their format.

    `formats` is empty if all are ISO 8601; `iso` whether some are. `twin` is another format that reads the same texts
    (day and month exchanged), if the texts do not decide between the two. `second` marks moments in the second pass of
    a repeated hour.
    """

    moments: pd.Series[Any]  # datetime64[us], without zone; NaT where missing or unreadable
    second: npt.NDArray[np.bool_]
    formats: tuple[str, ...]
    iso: bool
    twin: str | None
    zoned: bool
    unreadable: int
    examples: tuple[str, ...]
    words: tuple[str, ...] = ()  # the unreadable texts if they are few, such as a line of totals or a repeated header

    def of(self, rows: pd.Series[bool]) -> Times:
        """The times of some rows, with a fresh index."""
        kept = rows.to_numpy()
        return replace(self, moments=self.moments[kept].reset_index(drop=True), second=self.second[kept])

    @property
    def plain(self) -> bool:
        """Whether no format is needed."""
        return not self.formats and not self.unreadable

    @property
    def uniform(self) -> bool:
        """Whether one format reads them all, apart from words that are not times."""
        return (self.iso, len(self.formats)) in {(True, 0), (False, 1)} and (not self.unreadable or bool(self.words))


@dataclass(frozen=True)
class Gap:
    """A span without rows that is longer than the others."""

    start: pd.Timestamp
    end: pd.Timestamp


def read_times(column: pd.Series[Any], zone: str = "UTC") -> Times:
    """Detect the format of a column's times, in `zone`. Unreadable texts become missing, and are counted."""
    if dtypes.is_datetime64_any_dtype(column):
        zoned = column.dt.tz is not None
        local = column.dt.tz_convert(zone).dt.tz_localize(None) if zoned else column
        again = second_pass(column.dt.tz_convert(zone)) if zoned else np.zeros(len(column), dtype=bool)
        return Times(local.astype("datetime64[us]"), again, (), True, None, zoned, 0, ())
    if (numbers := as_numbers(column)) is not None:
        return _of_numbers(numbers, zone)
    text = as_text(column)
    codes, values = pd.factorize(text)
    written = pd.Series(values, dtype=object).astype(str).str.strip()
    instants, with_zone = read_texts(written, None)
    iso, twin = bool(instants.notna().any()), None
    counts = np.bincount(codes[codes >= 0], minlength=len(values))
    formats: list[str] = []
    while len(formats) < 3 and (left := instants.isna().to_numpy()).any():
        best = _best(written[left], counts[left])
        if best is None:
            break
        name, read, other = best
        twin = twin or other
        formats.append(name)
        with_zone = with_zone | (instants.isna() & read.notna() & is_zoned(name))
        instants = instants.fillna(read)
    moments, bad = local_times(instants, with_zone, zone), instants.isna().to_numpy()
    again = second_pass(instants.dt.tz_convert(zone)) & with_zone.to_numpy()
    everything = np.append(moments.to_numpy("datetime64[us]"), np.datetime64("NaT"))[codes]
    return Times(
        pd.Series(everything, index=column.index, name=column.name),
        np.append(again, False)[codes],
        tuple(formats),
        iso,
        twin,
        bool(with_zone.any()),
        int(counts[bad].sum()),
        tuple(written[bad].head(3)),
        _few(written[bad]),
    )


def _of_numbers(numbers: pd.Series[Any], zone: str) -> Times:
    """Counts of time, and dates or times written as one number, such as 20240131."""
    present = numbers.dropna()
    texts = pd.Series([f"{n:.0f}" if n % 1 == 0 else repr(n) for n in present], present.index, dtype=object)
    form = _form_of(present)
    moments = pd.Series(pd.NaT, numbers.index, dtype="datetime64[us]", name=numbers.name)
    again = np.zeros(len(numbers), dtype=bool)
    if form is not None:
        read, counted = read_texts(texts, form)
        moments[present.index] = local_times(read, counted, zone).astype("datetime64[us]")
        again[numbers.notna().to_numpy()] = second_pass(read.dt.tz_convert(zone)) & counted.to_numpy()
    bad = (moments.isna() & numbers.notna())[present.index]
    words = _few(texts[bad])
    return Times(
        moments, again, (form,) if form else (), False, None, False, int(bad.sum()), tuple(texts[bad].head(3)), words
    )


def _form_of(numbers: pd.Series[Any]) -> str | None:
    """The time format that most of some numbers have; None without one."""
    middle, whole = float(numbers.median()), bool((numbers % 1 == 0).all())
    written = {"%Y%m%d": 1e0, "%Y%m%d%H%M": 1e4, "%Y%m%d%H%M%S": 1e6}
    options = {form: (19000101 * size, 21001232 * size) for form, size in written.items() if whole}
    counted = {"epoch s": 1.0, "epoch ms": 1e3, "epoch us": 1e6, "epoch ns": 1e9}
    options |= {form: (3e8 * size, 4.2e9 * size) for form, size in counted.items()}
    form = next((f for f, (low, high) in options.items() if low <= middle <= high), None)
    if form is None and numbers.between(*_EXCEL).mean() > _MOST:
        return "excel"
    return form or ("days" if whole and _numbered(numbers) and not are_years(numbers) else None)


def _numbered(numbers: pd.Series[Any]) -> bool:
    """Whether numbers count steps of time: they only grow, and as days they end before 2200."""
    in_order = numbers.is_monotonic_increasing or numbers.is_monotonic_decreasing
    return in_order and numbers.nunique() >= _STEPS and bool(numbers.between(0, _LAST_DAY).all())


def are_years(values: pd.Series[Any]) -> bool:
    """Whether values are years without a day."""
    numbers = as_numbers(values.dropna())
    return (
        numbers is not None
        and len(numbers) > 0
        and bool(numbers.between(1500, 2200).all() and (numbers % 1 == 0).all())
    )


def _few(texts: pd.Series[Any]) -> tuple[str, ...]:
    """The distinct texts, or none if they are many."""
    different = tuple(texts.drop_duplicates())
    return different if len(different) <= _WORDS else ()


def _zone_behind(written: pd.Series[Any]) -> str:
    """The suffix that a format needs because most of the texts name their zone."""
    zones = written.str.extract(_ZONE_BEHIND).dropna()
    if len(zones) <= _MOST * len(written):
        return ""
    blank, zone = (zones[c].mode().iloc[0] for c in zones)
    return f"{blank}{zone if zone in {'UTC', 'GMT', 'Z'} else '%z'}"


def _best(written: pd.Series[Any], counts: Any) -> tuple[str, pd.Series[Any], str | None] | None:
    """The format that reads most of the texts, its result, and another one that could be meant."""
    step = max(len(written) // _LOOK, 1)
    look = written.iloc[::step]
    behind = _zone_behind(look)
    worth = [f + behind for f in FORMATS if read_texts(look, f + behind)[0].notna().any()]
    read = {f: read_texts(written, f)[0] for f in worth}
    if not read:
        return None
    score = {f: int(counts[r.notna().to_numpy()].sum()) for f, r in read.items()}
    most = max(score.values())
    tied = [f for f in worth if score[f] == most]
    # If two formats read every value, the one in better order is taken: tables grow with time.
    tied.sort(key=lambda f: (disorder(read[f]), f.startswith("%m")))
    other = tied[1] if len(tied) > 1 and not _decided(read[tied[0]], read[tied[1]]) else None
    return tied[0], read[tied[0]], other


def _decided(one: pd.Series[Any], other: pd.Series[Any]) -> bool:
    """Whether the first order is better than the second by more than chance."""
    better, worse, steps = disorder(one), disorder(other), max(int(one.notna().sum()) - 1, 1)
    chance = np.sqrt((better * (1 - better) + worse * (1 - worse)) / steps)
    return bool(worse - better > max(0.02, 2 * chance))


def disorder(moments: pd.Series[Any]) -> float:
    """The share of steps that go back in time."""
    steps = moments.dropna().diff().dropna()
    return float((steps < pd.Timedelta(0)).mean()) if len(steps) else 0.0


def choose_period(moments: pd.Series[Any]) -> tuple[Period, float]:
    """The shortest calendar period with enough rows per batch, and the median of its rows.

    With fewer than six batches the next shorter one is chosen: four batches are too few to monitor.
    """
    times = moments.dropna()
    frequency: dict[Period, str] = {"day": "D", "week": "W-SUN", "month": "M"}
    rows = {p: times.dt.to_period(f).value_counts() for p, f in frequency.items()}
    median = {p: float(r.median()) if len(r) else 0.0 for p, r in rows.items()}
    fitting: list[Period] = [p for p in frequency if median[p] >= _ENOUGH and len(rows[p]) <= _MANY]
    chosen: Period = fitting[0] if fitting else "month"
    shorter: dict[Period, Period] = {"month": "week", "week": "day"}
    while chosen in shorter and len(rows[chosen]) < 6:
        chosen = shorter[chosen]
    return chosen, median[chosen]


def closed_days(moments: pd.Series[Any]) -> list[int]:
    """The days of the week, Monday 0, that never have rows; none for a table shorter than four weeks."""
    times = moments.dropna()
    whole = len(times) and times.max() - times.min() >= timedelta(days=28)
    return sorted({*range(7)} - {*times.dt.weekday}) if whole else []


def gaps(moments: pd.Series[Any], period: Period) -> list[Gap]:
    """Spans without any row that are longer than two batches; for daily batches, apart from closed days."""
    longest = {"day": timedelta(days=2), "week": timedelta(days=14), "month": timedelta(days=62)}[period]
    times = moments.dropna().drop_duplicates().sort_values().reset_index(drop=True)
    step = times.diff()
    closed = closed_days(times) if period == "day" else []
    if closed:
        days = times.to_numpy().astype("datetime64[D]")
        opened = np.busday_count(days[:-1], days[1:], weekmask=[day not in closed for day in range(7)])
        step[1:] -= pd.to_timedelta((days[1:] - days[:-1]).astype(int) - opened, "D")
    return [Gap(times[i - 1], times[i]) for i in step.index[step > longest]]
