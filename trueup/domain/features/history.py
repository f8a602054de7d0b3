"""Features from earlier rows, as they were known at a row's own time.

A row at time t sees the rows with a label that became known in (t - w, t]. A row counts as known at the earliest a
microsecond after its own time, so no row ever sees itself, its contemporaries or anything later, whatever its
`known_at` is. Training and scoring call the same function. A row's features depend only on its keys, its time and the
rows in its windows.

Method: the past is sorted by key and by the moment it became known, with running totals. A window of a key is a range
in that order, found by binary search, and its total is the difference of two running totals. O((n + m) log n) for n
past rows and m queries, without a loop over rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    timeline = _Timeline(queries, checked_past(queries, past, specs))
    aggregates: dict[str, npt.NDArray[np.float32]] = {}
    for keys in dict.fromkeys(keys_of(by) for spec in specs for by in spec.by):
        runs = timeline.runs(keys)
        for spec in specs:
            if keys in map(keys_of, spec.by):
                aggregates |= _aggregates(spec, keys, runs, timeline)
    return pd.DataFrame({name: aggregates[name] for name in history_names(specs)}, index=queries.index, copy=False)


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
class _Runs:
    """Past rows and queries of one set of keys, both ordered by key and time.

    `past` are positions in the timeline's past, `slots` = key * (n + 1) + rank in time, ascending; `queries` are
    positions of the queries that have a key, `base` = their key * (n + 1), in `queries` order.
    """

    past: Ints
    slots: Ints
    queries: Ints
    base: Ints

    def before(self, ranks: Ints) -> Ints:
        """Count, for each query, the past rows ordered before its key's row of that rank in time."""
        return np.searchsorted(self.slots, self.base + ranks[self.queries])


class _Timeline:
    """The past in the order in which it became known, and the queries' places in it."""

    def __init__(self, queries: pd.DataFrame, past: pd.DataFrame) -> None:
        past = past[past[KNOWN_AT].notna()] if past[KNOWN_AT].hasnans else past
        known_at = known_moments(past)
        self._order = np.argsort(known_at, kind="stable")
        self._known_at = known_at[self._order]
        self._past, self._queries = past, queries
        self._now = _microseconds(queries[EVENT_TIME])
        self._in_time = np.argsort(self._now, kind="stable")
        self._ranks: dict[timedelta, Ints] = {}
        self.size = len(queries)

    def known_before(self, ago: timedelta) -> Ints:
        """Count, for each query, the past rows that were known that long before it: their ranks are below the count."""
        if ago not in self._ranks:
            ranks = np.empty(self.size, dtype=np.int64)
            moments = self._now[self._in_time] - ago // _MICROSECOND
            ranks[self._in_time] = np.searchsorted(self._known_at, moments, side="right")
            self._ranks[ago] = ranks
        return self._ranks[ago]

    def column(self, name: str) -> pd.Series[Any]:
        """A column of the past in the order in which it became known."""
        return self._past[name].take(self._order)

    def runs(self, keys: Keys) -> _Runs:
        """Order past and queries by these keys."""
        past, queries, groups = _codes(self._past, self._queries, keys)
        kept, by_key = _by_code(past[self._order], groups)
        positions, queries_by_key = _by_code(queries[self._in_time], groups)
        ranks = len(past) + 1
        return _Runs(kept, by_key * ranks + kept, self._in_time[positions], queries_by_key * ranks)


def _by_code(codes: Ints, groups: int) -> tuple[Ints, Ints]:
    """Return the positions ordered by code, then by position, and their codes, without those that have no code."""
    small = codes.astype(np.min_scalar_type(-groups - 1))  # numpy sorts small integers by radix
    order = np.argsort(small, kind="stable")
    order = order[np.searchsorted(small, 0, sorter=order) :]
    return order, codes[order]


def _codes(past: pd.DataFrame, queries: pd.DataFrame, keys: Keys) -> tuple[Ints, Ints, int]:
    """Number the keys consistently in both frames, -1 if a part is missing; also return their number."""
    codes = np.zeros(len(past) + len(queries), dtype=np.int64)
    for key in keys:
        part, count = _column_codes(past[key], queries[key])
        missing = (codes < 0) | (part < 0)
        codes = part if len(keys) == 1 else pd.factorize(codes * count + part)[0]  # small again, to prevent overflow
        codes[missing] = -1
    return codes[: len(past)], codes[len(past) :], int(codes.max(initial=0)) + 1


def _column_codes(past: pd.Series[Any], queries: pd.Series[Any]) -> tuple[Ints, int]:
    """Number the values of two columns consistently, whatever their types, first all of the past, then the queries."""
    codes_past, values_past = pd.factorize(past)
    codes_queries, values_queries = pd.factorize(queries)
    texts = [*as_text(pd.Series(values_past)), *as_text(pd.Series(values_queries))]
    alike, distinct = pd.factorize(np.array(texts, dtype=object))
    of_past, of_queries = np.append(alike[: len(values_past)], -1), np.append(alike[len(values_past) :], -1)
    return np.concatenate([of_past[codes_past], of_queries[codes_queries]]), len(distinct)


def _aggregates(
    spec: HistoryConfig, keys: Keys, runs: _Runs, timeline: _Timeline
) -> dict[str, npt.NDArray[np.float32]]:
    """Aggregate one spec over one set of keys, for all of its windows."""
    values, present = aggregated_values(spec, timeline.column(spec.of))
    counts = _running(present[runs.past])
    totals = [_running(part[runs.past]) for part in ([] if spec.aggregate == "count" else _exact_parts(values))]
    upper = runs.before(timeline.known_before(timedelta(0)))
    aggregates = {}
    for window in spec.windows:
        lower = runs.before(timeline.known_before(window))
        n = counts[upper] - counts[lower]
        *mean, count = _names(spec, keys, window)
        aggregates[count] = np.zeros(timeline.size, dtype=np.float32)
        aggregates[count][runs.queries] = n
        for name in mean:
            total = _rounded_sum([t[upper] - t[lower] for t in totals])
            aggregates[name] = np.full(timeline.size, np.nan, dtype=np.float32)
            aggregates[name][runs.queries] = np.divide(total, n, out=np.full(len(n), np.nan), where=n > 0)
    return aggregates


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
