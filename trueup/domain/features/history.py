"""Features from earlier rows, as they were known at a row's own time.

A row at time t sees the rows with a label that became known in (t - w, t]. A row counts as known at the earliest a
microsecond after its own time, so no row ever sees itself, its contemporaries or anything later, whatever its
`known_at` is. Training and scoring call the same function. A row's features depend only on its keys, its time and the
rows in its windows.

Method: the past is sorted by key and by the moment it became known, with running totals. A window of a key is a range
in that order, found by binary search, and its total is the difference of two running totals. O((n + m) log n) for n
past rows and m queries, without a loop over rows. The queries are looked up in chunks, so that beside the past only the
result grows with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as dtypes

from trueup.config.durations import write_duration
from trueup.config.sections.features import HistoryConfig
from trueup.domain.data.values import as_text
from trueup.domain.types import EVENT_TIME, KNOWN_AT
from trueup.errors import WorkError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Keys = tuple[str, ...]

_AT_ONCE = 1 << 18  # queries that are looked up together
_MICROSECOND = timedelta(microseconds=1)
_SMALLEST = -1074  # the exponent of the smallest float64
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1), "min": timedelta(minutes=1), "s": timedelta(seconds=1)}


def history_features(queries: pd.DataFrame, past: pd.DataFrame, specs: Sequence[HistoryConfig]) -> pd.DataFrame:
    """Aggregate, for each query row, the past rows of the same key that became known in its trailing windows.

    `queries` has `event_time` and the key columns; `past` has `event_time`, `known_at`, the key columns and the columns
    that `specs` aggregate (`label` or others), in any order. Returns float32 columns indexed like `queries`: for each
    spec, entry of `by` and window a mean or rate `<name>_<keys>_<window>` (NaN without a value) and the count `..._n`
    of its values, unless `counts` is off; for `count` only `<name>_<keys>_<window>`. Missing and infinite values do not
    count; a missing key results in NaN and 0. A mean is the exact sum of its values, rounded once to float64, divided by
    their number and rounded to float32: no value outside a window leaves a trace in it, and whoever sums exactly gets the
    same bits (the server does, see `serving.history`).

    Raises WorkError if a column is missing, or is text but needs a mean.
    """
    timeline = _Timeline(checked_past(queries, past, specs))
    ranks = timeline.ranks(queries[EVENT_TIME], {timedelta(0), *(window for spec in specs for window in spec.windows)})
    made = {name: np.empty(len(queries), dtype=np.float32) for name in history_names(specs)}
    for keys in dict.fromkeys(keys_of(by) for spec in specs for by in spec.by):
        runs = timeline.runs(keys)
        totals = [_Totals.of(spec, runs, timeline) for spec in specs if keys in map(keys_of, spec.by)]
        for start in range(0, len(queries), _AT_ONCE):
            rows = slice(start, start + _AT_ONCE)
            found = runs.find(queries[[*keys]].iloc[rows], {window: of[rows] for window, of in ranks.items()})
            for name, values in (pair for total in totals for pair in total.aggregates(keys, found)):
                if name in made:
                    made[name][rows] = values
    return pd.DataFrame(made, index=queries.index, copy=False)


def history_names(specs: Sequence[HistoryConfig]) -> list[str]:
    """Names of the features of `history_features`, in its order.

    >>> spec = HistoryConfig(name="late", by=["carrier", ["origin", "dest"]], windows=["7 days", "12 hours"])
    >>> history_names([spec])[:6:2]
    ['late_carrier_7d', 'late_carrier_12h', 'late_origin_dest_7d']
    """
    return [
        name
        for spec in specs
        for by in spec.by
        for window in spec.windows
        for name in _names(spec, keys_of(by), window)[: None if spec.counts else 1]
    ]


def reaches(specs: Sequence[HistoryConfig]) -> dict[str, timedelta]:
    """The window of each feature of `history_features`."""
    return {
        name: window
        for spec in specs
        for by in spec.by
        for window in spec.windows
        for name in _names(spec, keys_of(by), window)
    }


def definitions(specs: Sequence[HistoryConfig]) -> dict[str, dict[str, Any]]:
    """The definition of each feature of `history_features`: plain values, for those who compute it elsewhere.

    >>> spec = HistoryConfig(name="late", by=[["origin", "dest"]], windows=["7 days"])
    >>> definitions([spec])["late_origin_dest_7d_n"]
    {'of': 'label', 'aggregate': 'count', 'by': ['origin', 'dest'], 'window': '7 days'}
    """
    return {
        name: {
            "of": spec.of,
            "aggregate": aggregate,
            **({} if aggregate != "rate" else {"equals": 1 if spec.equals is None else spec.equals}),
            "by": list(keys_of(by)),
            "window": write_duration(window),
        }
        for spec in specs
        for by in spec.by
        for window in spec.windows
        for name, aggregate in zip(_names(spec, keys_of(by), window), (spec.aggregate, "count"), strict=False)
    }


def needed_reach(specs: Sequence[HistoryConfig]) -> timedelta:
    """The longest window: rows that became known longer ago cannot change a row's features."""
    return max((window for spec in specs for window in spec.windows), default=timedelta(0))


def keys_of(by: list[str] | str) -> Keys:
    """The columns of an entry of `by`."""
    return (by,) if isinstance(by, str) else tuple(by)


def _names(spec: HistoryConfig, keys: Keys, window: timedelta) -> list[str]:
    unit = next((u for u, size in _UNITS.items() if window % size == timedelta(0)), "us")
    name = f"{spec.name}_{'_'.join(keys)}_{window // _UNITS.get(unit, _MICROSECOND)}{unit}"
    return [name] if spec.aggregate == "count" else [name, f"{name}_n"]


def checked_past(queries: pd.DataFrame, past: pd.DataFrame, specs: Sequence[HistoryConfig]) -> pd.DataFrame:
    """Return the needed columns of the past, which may lack them if it has no rows. Raises WorkError otherwise."""
    keys = {k for spec in specs for by in spec.by for k in keys_of(by)}
    needed = [EVENT_TIME, KNOWN_AT, *sorted(keys | {spec.of for spec in specs})]
    if past.empty:
        past = past.reindex(columns=needed)
    if lacking := sorted((keys - set(queries.columns)) | (set(needed) - set(past.columns))):
        raise WorkError(
            f"features.history: the landed rows lack {', '.join(lacking)}; name columns that the source has"
        )
    for spec in specs:
        if spec.aggregate == "mean" and len(past) and not _is_number(past[spec.of]):
            raise WorkError(
                f"features.history: {spec.name} takes the mean of '{spec.of}', which holds text; "
                "use aggregate: rate with equals, or add the column to ingest.coerce"
            )
    return past[needed]


def _is_number(column: pd.Series[Any]) -> bool:
    return dtypes.is_numeric_dtype(column)


def known_moments(past: pd.DataFrame) -> Ints:
    """The moments, in microseconds since 1970, from which rows with a `known_at` count."""
    return np.maximum(_microseconds(past[KNOWN_AT]), _microseconds(past[EVENT_TIME]) + 1)


def _microseconds(times: pd.Series[Any]) -> Ints:
    return times.to_numpy().astype("datetime64[us]").astype(np.int64)


@dataclass(frozen=True)
class _Found:
    """Where the windows of some queries begin and end.

    `queries` are the positions of those that have a key of the past, of `size` in all; `until` and `since` are, in their
    order, the numbers of past rows of earlier keys, and of their own key up to the end or the begin of a window.
    """

    size: int
    queries: Ints
    until: Ints
    since: dict[timedelta, Ints]


@dataclass(frozen=True)
class _Runs:
    """Past rows of one set of keys, ordered by key and time.

    `past` are their positions in the timeline, `slots` = key * `ranks` + rank in time, ascending.
    """

    numbering: _Numbering
    past: Ints
    slots: Ints
    ranks: int

    def find(self, keys: pd.DataFrame, ranks: dict[timedelta, Ints]) -> _Found:
        """Find the windows of queries with these keys and `_Timeline.ranks`."""
        order, by_key = _by_code(self.numbering.of(keys), self.numbering.size)
        base = by_key * self.ranks
        counts = {window: np.searchsorted(self.slots, base + of[order]) for window, of in ranks.items()}
        return _Found(len(keys), order, counts.pop(timedelta(0)), counts)


class _Timeline:
    """The past in the order in which it became known."""

    def __init__(self, past: pd.DataFrame) -> None:
        past = past[past[KNOWN_AT].notna()] if past[KNOWN_AT].hasnans else past
        known_at = known_moments(past)
        self._order = np.argsort(known_at, kind="stable")
        self._known_at = known_at[self._order]
        self._past = past

    def ranks(self, times: pd.Series[Any], windows: set[timedelta]) -> dict[timedelta, Ints]:
        """Count, for each time and window, the past rows that were known that long before: their ranks are below it."""
        now = _microseconds(times)
        in_time = np.argsort(now, kind="stable")
        ranks = {}
        for window in windows:
            ranks[window] = np.empty(len(now), dtype=np.min_scalar_type(-len(self._known_at) - 1))
            moments = now[in_time] - window // _MICROSECOND
            ranks[window][in_time] = np.searchsorted(self._known_at, moments, side="right")
        return ranks

    def column(self, name: str) -> pd.Series[Any]:
        """A column of the past in the order in which it became known."""
        return self._past[name].take(self._order)

    def runs(self, keys: Keys) -> _Runs:
        """Order the past by these keys."""
        numbering, codes = _Numbering.by(self._past, keys)
        kept, by_key = _by_code(codes[self._order], numbering.size)
        ranks = len(codes) + 1
        return _Runs(numbering, kept, by_key * ranks + kept, ranks)


def _by_code(codes: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return the positions ordered by code, then by position, and their codes, without those that have no code."""
    small = codes.astype(np.min_scalar_type(-groups - 1))  # numpy sorts small integers by radix
    order = np.argsort(small, kind="stable")
    order = order[np.searchsorted(small, 0, sorter=order) :]
    return order, codes[order]


@dataclass(frozen=True)
class _Numbering:
    """The numbers of the past's keys.

    `texts`: the distinct values of each column. `pairs`: from the second column on, the distinct pairs of the number of
    the columns before and that of the column. The number of a key is its place in the last of them.
    """

    texts: tuple[pd.Index[Any], ...]
    pairs: tuple[pd.Index[Any], ...]

    @property
    def size(self) -> int:
        return len((*self.texts, *self.pairs)[-1])

    @classmethod
    def by(cls, past: pd.DataFrame, keys: Keys) -> tuple[_Numbering, Ints]:
        """Number the keys of the past; return the number of each row, too, -1 if a part is missing."""
        texts, pairs, codes = [], [], np.zeros(len(past), dtype=np.int64)
        for position, key in enumerate(keys):
            of_rows, values = pd.factorize(past[key])
            alike, distinct = pd.factorize(as_text(pd.Series(values)))  # 1 and 1.0 are one value
            texts.append(pd.Index(distinct))
            part = np.append(alike, -1)[of_rows]
            if position == 0:
                codes = part
                continue
            pair = _paired(codes, part, len(distinct))
            codes, numbers = pd.factorize(pair)  # small again, to prevent overflow
            codes[pair < 0] = -1
            pairs.append(pd.Index(numbers))
        return cls(tuple(texts), tuple(pairs)), codes

    def of(self, rows: pd.DataFrame) -> Ints:
        """The number of each row's key, whatever the types of its columns; -1 if the past does not have it."""
        codes = np.zeros(len(rows), dtype=np.int64)
        for position, (texts, (_, column)) in enumerate(zip(self.texts, rows.items(), strict=True)):
            of_rows, values = pd.factorize(column)
            part = np.append(texts.get_indexer(pd.Index(as_text(pd.Series(values)))), -1)[of_rows]
            if position == 0:
                codes = part
                continue
            pair = _paired(codes, part, len(texts))
            codes = np.where(pair < 0, -1, self.pairs[position - 1].get_indexer(pd.Index(pair)))
        return codes


def _paired(codes: Ints, part: Ints, parts: int) -> Ints:
    """One number for each pair of numbers, -1 if one is missing."""
    return np.where((codes < 0) | (part < 0), -1, codes * parts + part)


@dataclass(frozen=True)
class _Totals:
    """Running totals of what one spec aggregates, in the order of the runs of one set of keys."""

    spec: HistoryConfig
    counts: Ints
    parts: tuple[Floats, ...]  # none for `count`

    @classmethod
    def of(cls, spec: HistoryConfig, runs: _Runs, timeline: _Timeline) -> _Totals:
        values, present = aggregated_values(spec, timeline.column(spec.of))
        parts = [] if spec.aggregate == "count" else _exact_parts(values)
        return cls(spec, _running(present[runs.past]), tuple(_running(part[runs.past]) for part in parts))

    def aggregates(self, keys: Keys, found: _Found) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
        """Yield the features of the queries that were found, by their names."""
        for window in self.spec.windows:
            until, since = found.until, found.since[window]
            n = self.counts[until] - self.counts[since]
            *mean, count = _names(self.spec, keys, window)
            counted = np.zeros(found.size, dtype=np.float32)
            counted[found.queries] = n
            yield count, counted
            for name in mean:
                total = _rounded_sum([part[until] - part[since] for part in self.parts])
                values = np.full(found.size, np.nan, dtype=np.float32)
                values[found.queries] = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
                yield name, values


def aggregated_values(spec: HistoryConfig, column: pd.Series[Any]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return the values to average (0 if missing; none at all for `count`) and which of them exist."""
    if spec.aggregate == "mean":
        numbers = column.to_numpy(dtype=np.float64, na_value=np.nan)
        present = np.isfinite(numbers)
        return np.where(present, numbers, 0.0), present
    present = column.notna().to_numpy()
    if spec.aggregate == "count":
        return np.zeros(0), present
    wanted = 1 if spec.equals is None else spec.equals
    if _is_number(column) and not isinstance(wanted, str):
        return np.asarray(column == wanted, dtype=np.float64), present
    text = as_text(pd.Series([wanted], dtype=object)).iloc[0]
    return np.asarray(as_text(column) == text, dtype=np.float64), present


def _running(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Running totals with a zero in front: values[a:b].sum() is the difference of entries b and a."""
    kind = np.int64 if values.dtype == bool else np.float64
    return np.concatenate([np.zeros(1, dtype=kind), np.cumsum(values, dtype=kind)])


def _exact_parts(values: Floats) -> list[Floats]:
    """Split values into parts that sum up to them and whose running totals are all exact.

    A difference of running totals loses the digits that the totals round off, and one huge value would blur all later
    ones. Each part is a multiple of a power of two so large that a float64 represents every total of n of them exactly
    (n · 2^bits ≤ 2^52), and the next part has what is left. Whole numbers and rates have one part, values with a full
    mantissa two or three.
    """
    bits = 52 - len(values).bit_length()
    parts = []
    while largest := np.abs(values).max(initial=0.0):
        step = np.ldexp(1.0, max(int(np.frexp(largest)[1]) - bits, _SMALLEST))
        parts.append(np.trunc(values / step) * step)
        values = values - parts[-1]
    return parts or [values]


def _rounded_sum(parts: list[Floats]) -> Floats:
    """Add arrays (n,) element by element, each sum rounded once."""
    total: Floats = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    for i in np.flatnonzero(np.any(parts[2:], axis=0)) if len(parts) > 2 else ():
        with suppress(OverflowError):  # beyond float64, as `total` says already
            total[i] = math.fsum(part[i] for part in parts)
    return total
