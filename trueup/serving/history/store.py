"""History features of a row that was just received: the same bits as `domain.features.history` computes later.

The past is held in memory: for each set of key columns the moments at which events became known, ordered by key and
time, with running totals beside them. A window of a key is a range of positions, found by binary search, and its total
is a difference of two running totals. These are kept in parts that are all exact, so a sum is rounded only once,
whatever lies outside its window. An event takes 32 bytes, 8 more a set of keys, and 8 for each mean over them; a set of
several columns takes about 200 bytes for each of its keys.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from trueup.errors import WorkError
from trueup.serving import state
from trueup.serving.history.file import Events, measure_of, read_events
from trueup.serving.texts import text_of

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Number = TypeVar("Number", np.int64, np.float64)
Keys = tuple[str, ...]
# The position among a plan's names, and the totals; whether it is a count of them, or else a mean. Plain tuples, as they
# are read for each row.
_Feature = tuple[int, "_Totals", bool]
_Step = tuple[int, int, "int | None"]  # a window, and the positions of a mean and of its count

_SMALLEST = -1074  # the exponent of the smallest float64
EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_TRUTHS: Final = {"true": "1", "false": "0"}
_WHOLE: Final = re.compile(r"[+-]?\d{1,400}", re.ASCII)
_WITH_POINT: Final = re.compile(r"[+-]?(?:0|[1-9]\d*)\.0+", re.ASCII)


def microseconds(moment: datetime) -> int:
    """Return a moment that is local to the model, without zone, as microseconds since 1970: the `now_us` of a row."""
    return (moment - EPOCH) // _MICROSECOND


class HistoryStore:
    """The past of one model. It never changes, so any thread may ask it."""

    def __init__(self, history: state.History, events: Events) -> None:
        self.events = len(events.known)
        self.known_until = history.known_until
        self._specs, self._columns = history.specs, dict(history.columns)
        self._timezone = history.timezone
        self._complete_since = history.complete_since
        order = np.argsort(events.known, kind="stable")
        sets = dict.fromkeys(keys for spec in history.specs for keys in spec.by)
        moments = events.known.astype(object)  # one number for all sets: comparing those of an array makes new ones
        self._sets = {keys: _KeySet(keys, events, order, moments, _measures(history.specs, keys)) for keys in sets}

    @classmethod
    def load(cls, folder: Path, history: state.History) -> HistoryStore:
        """Read the files that a state names; `folder` is the model's in `HOME/serving`.

        A million events take about two seconds. Raises UntrustedModel for a file with another digest, and WorkError for one
        that is missing or cannot be read.
        """
        parts = [read_events(folder / state.HISTORY / file.file, file.sha256) for file in history.files]
        columns = dict.fromkeys(column for spec in history.specs for keys in spec.by for column in keys)
        return cls(history, Events.together(parts, columns, dict.fromkeys(map(measure_of, history.specs))))

    def plan(self, names: Sequence[str]) -> Plan:
        """Prepare the features of these names. Raises WorkError if the history has no such feature."""
        wanted = {name: i for i, name in enumerate(names)}
        steps = [self._lookup(keys, wanted) for keys in self._sets]
        known = {name for spec in self._specs for name in spec.names}
        if lacking := sorted(wanted.keys() - known):
            raise WorkError(
                f"the published history has no feature {', '.join(lacking)}; publish the state again with the version "
                "that needs it"
            )
        used = [step for step in steps if step.windows]
        texts = {column: self._text(column) for step in used for column in step.columns}
        since = None
        if self._complete_since is not None:
            since = microseconds(datetime.fromisoformat(self._complete_since))
        of_place = {i: window for step in used for window, features in step.windows for i, *_ in features}
        windows = {names[i]: of_place[i] for i in sorted(of_place)}
        counts = [i for step in used for _, features in step.windows for i, _, is_count in features if is_count]
        return Plan(used, texts, len(names), counts, windows, since)

    def _lookup(self, keys: Keys, wanted: Mapping[str, int]) -> _Lookup:
        windows: dict[int, list[_Feature]] = {}
        for spec in self._specs:
            for name, window, is_count in _features(spec, keys):
                if name in wanted:
                    feature = (wanted[name], self._sets[keys].totals[measure_of(spec)], is_count)
                    windows.setdefault(window, []).append(feature)
        shortest_first = tuple((window, tuple(windows[window])) for window in sorted(windows))
        return _Lookup(keys, self._sets[keys], shortest_first)

    def _text(self, column: str) -> Callable[[object], str | None]:
        kind = self._columns.get(column, "text")
        if kind == "time":
            zone = ZoneInfo(self._timezone)
            return lambda value: _time_text(value, zone)
        return {"number": _number_text, "digits": _digits_text, "text": text_of}[kind]


@dataclass(frozen=True, slots=True)
class _Lookup:
    """The features over one set of keys, by window."""

    columns: Keys
    events: _KeySet
    windows: tuple[tuple[int, tuple[_Feature, ...]], ...]  # the shortest first

    def quick(self) -> tuple[array[float], tuple[_Step, ...]] | None:
        """The running totals that all features share, and what to compute of them.

        None unless it is one mean a window, perhaps with its count, of values that every event has and one part holds
        exactly: such as a rate of labels.
        """
        shared, steps = self.windows[0][1][0][1], []
        for window, features in self.windows:
            means = [position for position, _, is_count in features if not is_count]
            counts = [position for position, _, is_count in features if is_count]
            if len(means) != 1 or len(counts) > 1 or any(totals is not shared for _, totals, _ in features):
                return None
            steps.append((window, means[0], counts[0] if counts else None))
        if shared.counts is not None or len(shared.parts) != 1:
            return None
        return shared.parts[0], tuple(steps)


class Plan:
    """Computes some features of single rows."""

    def __init__(
        self,
        lookups: Sequence[_Lookup],
        texts: Mapping[str, Callable[[object], str | None]],
        size: int,
        counts: Sequence[int],
        windows: Mapping[str, int],
        since_us: int | None,
    ) -> None:
        self.columns = tuple(texts)  # of a row, which it may lack
        self._texts = tuple(texts.items())
        self._lookups = [
            (itemgetter(*of.columns), of.events.groups.get, of.events.starts, of.events.moments, of.quick(), of.windows)
            for of in lookups
        ]
        self._windows, self._since = dict(windows), since_us
        self._complete_from = None if since_us is None else since_us + max(windows.values(), default=0)
        self._nothing = [math.nan] * size
        for position in counts:
            self._nothing[position] = 0.0

    def values(self, row: Mapping[str, object], now_us: int) -> list[float]:
        """Return the features of a row at a moment, not yet rounded to float32, in the order of the plan's names.

        A mean without a value is NaN. `row` has the key columns as JSON or Python has them; see `microseconds` for
        `now_us`. Takes two or three microseconds for each set of keys.
        """
        found = self._nothing.copy()
        texts = {column: text(row.get(column)) for column, text in self._texts}
        for key_of, group_of, starts, moments, quick, windows in self._lookups:
            if (group := group_of(key_of(texts))) is None:
                continue
            begin = starts[group]
            upper = lower = bisect_right(moments, now_us, begin, starts[group + 1])
            if quick is None:
                for window, features in windows:
                    lower = bisect_right(moments, now_us - window, begin, lower)
                    _aggregate(features, lower, upper, found)
                continue
            totals, steps = quick
            total = totals[upper]
            for window, mean, count in steps:
                lower = bisect_right(moments, now_us - window, begin, lower)
                if lower < upper:
                    found[mean] = (total - totals[lower]) / (upper - lower)
                    if count is not None:
                        found[count] = upper - lower
        return found

    def incomplete(self, now_us: int) -> tuple[str, ...]:
        """Name the features of a row at a moment that miss a part of their past, because it is older than what is published."""
        if self._since is None or self._complete_from is None or now_us >= self._complete_from:
            return ()
        return tuple(name for name, window in self._windows.items() if now_us - window < self._since)


def _aggregate(features: tuple[_Feature, ...], lower: int, upper: int, found: list[float]) -> None:
    """Fill in features over the events from one position to another."""
    for position, totals, is_count in features:
        n = upper - lower if totals.counts is None else totals.counts[upper] - totals.counts[lower]
        if is_count:
            found[position] = n
        elif n:
            found[position] = _total(totals.parts, lower, upper) / n


def _total(parts: tuple[array[float], ...], lower: int, upper: int) -> float:
    if len(parts) == 1:
        return parts[0][upper] - parts[0][lower]
    each = [part[upper] - part[lower] for part in parts]
    try:
        return math.fsum(each)
    except OverflowError:  # the sum is beyond float64
        return each[0] + each[1]


@dataclass(frozen=True, slots=True)
class _Totals:
    """Running totals of one measure, with a zero in front; `counts` is None if every event has a value."""

    counts: array[int] | None
    parts: tuple[array[float], ...]


class _KeySet:
    """The events ordered by one set of key columns and, for each key, by time.

    `groups` numbers the keys: the text of one column, or the texts of several as a tuple. The positions of a group's
    events are `starts[group]` to `starts[group + 1]`. `moments` shares its numbers with the other sets.
    """

    def __init__(
        self, columns: Keys, events: Events, in_time: Ints, moments: Objects, measures: Mapping[str, bool]
    ) -> None:
        groups, self.groups = _grouped(columns, events)
        count = len(self.groups)
        small = groups[in_time].astype(np.min_scalar_type(-count - 1))  # numpy sorts small integers by radix
        order = np.argsort(small, kind="stable")
        ordered = small[order]
        first = int(np.searchsorted(ordered, 0))  # those before lack a part of the key
        kept = in_time[order[first:]]
        self.starts = _integers(np.searchsorted(ordered[first:], np.arange(count + 1)))
        self.moments: tuple[int, ...] = tuple(moments[kept].tolist())
        self.totals = {name: _totals(events.values[name][kept], means) for name, means in measures.items()}


def _grouped(columns: Keys, events: Events) -> tuple[Ints, Mapping[Any, int]]:
    """Number the events' keys, -1 if a part is missing; also return the number of each key."""
    groups, texts = events.codes[columns[0]].astype(np.int64), events.texts[columns[0]]
    if len(columns) == 1:
        return groups, texts
    parts = [np.arange(len(texts))]  # of each key, by column
    for column in columns[1:]:
        codes, size = events.codes[column], len(events.texts[column])
        there = (groups >= 0) & (codes >= 0)
        pairs, numbers = np.unique(groups[there] * size + codes[there], return_inverse=True)
        groups = np.full(len(groups), -1, dtype=np.int64)
        groups[there] = numbers
        parts = [*(part[pairs // size] for part in parts), pairs % size]
    each = [
        map(list(events.texts[column]).__getitem__, part.tolist()) for column, part in zip(columns, parts, strict=True)
    ]
    return groups, {key: i for i, key in enumerate(zip(*each, strict=True))}


def _measures(specs: Sequence[state.HistorySpec], keys: Keys) -> dict[str, bool]:
    """The measures over a set of keys, and whether there is a mean or rate of them."""
    return {measure_of(spec): spec.aggregate != "count" for spec in specs if keys in spec.by}


def _features(spec: state.HistorySpec, keys: Keys) -> list[tuple[str, int, bool]]:
    """The name and window of each feature over a set of keys, and whether it is a count."""
    places = [(by, window) for by in spec.by for window in spec.windows]
    each = len(spec.names) // len(places)  # a mean or rate may have its count beside it
    return [
        (spec.names[i * each + j], window, spec.aggregate == "count" or j == 1)
        for i, (by, window) in enumerate(places)
        for j in range(each)
        if by == keys
    ]


def _totals(values: Floats, means: bool) -> _Totals:
    """Running totals of values, NaN if they are missing."""
    present = ~np.isnan(values)
    counts = None if present.all() else _integers(_running(present, np.int64))
    parts = _exact_parts(np.where(present, values, 0.0)) if means else []
    return _Totals(counts, tuple(array("d", _running(part, np.float64).tobytes()) for part in parts))


def _exact_parts(values: Floats) -> list[Floats]:
    """Split values into parts that sum up to them and whose running totals are all exact, see `domain.features.history`."""
    bits = 52 - len(values).bit_length()
    parts = []
    while largest := np.abs(values).max(initial=0.0):
        step = np.ldexp(1.0, max(int(np.frexp(largest)[1]) - bits, _SMALLEST))
        parts.append(np.trunc(values / step) * step)
        values = values - parts[-1]
    return parts or [values]


def _running(values: npt.NDArray[Any], kind: type[Number]) -> npt.NDArray[Number]:
    return np.concatenate([np.zeros(1, dtype=kind), np.cumsum(values, dtype=kind)])


def _integers(values: npt.NDArray[np.integer]) -> array[int]:
    return array("q", values.astype(np.int64, copy=False).tobytes())


def _number_text(value: object) -> str | None:
    """The text of a value in a column that is landed as numbers: true and "true" are 1."""
    if isinstance(value, str):
        text = value.strip()
        if (truth := _TRUTHS.get(text.lower())) is not None:
            return truth
        try:
            value = int(text) if _WHOLE.fullmatch(text) else float(text)
        except ValueError:
            return text  # no landed row has it
    return text_of(int(value) if isinstance(value, bool) else value)


def _digits_text(value: object) -> str | None:
    """The text of a value in a column of whole numbers: 101.0 is 101."""
    if type(value) is int:
        return str(value)
    text = text_of(value)
    return text.split(".")[0] if text is not None and "." in text and _WITH_POINT.fullmatch(text) else text


def _time_text(value: object, zone: ZoneInfo) -> str | None:
    """The text of a time, local to the model."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            moment = moment.astimezone(zone).replace(tzinfo=None)
    except (ValueError, OverflowError):  # no time, or in the first or last year of the calendar: no landed row has it
        return text_of(value)
    return text_of(moment)
