"""Predictions that were made elsewhere, joined to the model's rows and stored: the first one served counts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from trueup.adapters.store import CHAMPION
from trueup.config.tasks import Task
from trueup.domain.data.column_kinds import declared_kinds
from trueup.domain.data.landing import key_values
from trueup.domain.data.moments import TIME_UNIT, parse_times
from trueup.domain.data.periods import Period, period_of
from trueup.domain.data.values import key_hash, settled
from trueup.domain.types import EVENT_TIME, ROW_ID, Window
from trueup.errors import SourceError
from trueup.export.spool_file import Served
from trueup.model import Model

_TOLERANCE: Final = 1e-6  # of equal predictions, relative to max(1, |value|), as that of a graph in single precision
_SUM: Final = 1e-3  # how far the probabilities of all classes may be from 1
_LAST_PERIOD: Final = pd.Timestamp(9999, 12, 1)  # the periods after it do not all have an end
_PLACE: Final = "predictions made elsewhere"
_PREDICTION, _VERSION, _MADE_AT = "prediction", "model_version", "predicted_at"  # columns of stored predictions


class Storing:
    """Stores predictions in a role, and counts what becomes of them."""

    def __init__(self, model: Model, role: str = CHAMPION) -> None:
        self._model, self._role = model, role
        self.counts = dict.fromkeys(("new", "unmatched", "equal", "different", "before", "retired"), 0)
        self.readable = 0
        self.windows: set[Window] = set()

    def store(self, frame: pd.DataFrame, ends: Mapping[tuple[int, int], pd.Timestamp]) -> None:
        """Store the predictions of `frame_of`; `ends` has the end of training by version and epoch."""
        self.readable = len(frame)
        if frame.empty:
            return
        until = [ends[pair] for pair in zip(frame[_VERSION], frame["epoch"], strict=True)]
        early = (frame[EVENT_TIME] < pd.Series(until, index=frame.index)).to_numpy()
        self.counts["before"] = int(early.sum())
        frame = frame[~early].drop(columns=["epoch", "record"])
        windows = windows_of(frame[EVENT_TIME], self._model.config.ingest.period)
        for window in sorted(set(windows)):
            self._store_window(window, frame[(windows == window).to_numpy()])

    def _store_window(self, window: Window, rows: pd.DataFrame) -> None:
        name, store = self._model.config.model, self._model.home.store
        if store.predictions_removed(name, window, self._role):
            self.counts["retired"] += len(rows)
            return
        before = store.read_predictions(name, window, self._role)
        new = rows[~rows[ROW_ID].isin(before[ROW_ID])].drop_duplicates(ROW_ID)
        self.counts["unmatched"] += self._unmatched(window, new)
        # Versions differ in their classes, so each has a file of its own.
        saved = sum(
            store.save_predictions(name, window, part.dropna(axis="columns", how="all"), self._role)
            for _, part in new.groupby(_VERSION, sort=False)
        )
        if saved:
            self.windows.add(window)
        again = rows if saved < len(new) else rows.drop(new.index)  # another process stored some of them meanwhile
        same = _same(again, store.read_predictions(name, window, self._role))
        self.counts["new"] += saved
        self.counts["equal"] += int(same.sum()) - (saved if saved < len(new) else 0)
        self.counts["different"] += int((~same).sum())

    def _unmatched(self, window: Window, rows: pd.DataFrame) -> int:
        landed = self._model.home.store.newest(self._model.config.rows_dataset, window)
        if landed is None:  # the batch is still to come
            return 0
        return int((~rows[ROW_ID].isin(self._model.home.store.read(landed, [ROW_ID])[ROW_ID])).sum())


def _same(rows: pd.DataFrame, stored: pd.DataFrame) -> npt.NDArray[np.bool_]:
    """Whether the stored prediction of each row (n,) is the same. `stored` has a prediction for each of them."""
    there = stored.drop_duplicates(ROW_ID).set_index(ROW_ID).reindex(rows[ROW_ID])
    same = np.ones(len(rows), dtype=bool)
    for column in {c for frame in (rows, there) for c in frame.columns if c == _PREDICTION or c.startswith("p_")}:
        here, other = (frame.reindex(columns=[column])[column].to_numpy() for frame in (rows, there))
        if here.dtype == object or other.dtype == object:  # classes
            same &= pd.Series(here).eq(pd.Series(other)).to_numpy()
        else:
            apart = np.abs(here - other) <= _TOLERANCE * np.maximum(1, np.abs(other))
            same &= apart | (np.isnan(here) & np.isnan(other))
    return same


def windows_of(times: pd.Series[Any], period: Period) -> pd.Series[Any]:
    """The window of each moment (n,); none is missing."""
    codes, days = pd.factorize(times.dt.normalize())
    windows = np.empty(len(days), dtype=object)
    windows[:] = [period_of(day, period) for day in pd.DatetimeIndex(days)]
    return pd.Series(windows[codes], index=times.index, dtype=object)


def frame_of(model: Model, records: Sequence[Served], classes: Mapping[int, frozenset[str]]) -> pd.DataFrame:
    """The readable records in the order in which they were made, as they are stored.

    Beside are `epoch`, and `record`: the position among `records`. `classes` are those of each version.
    """
    task, nothing = model.config.task, frozenset[str]()
    predicted = [
        (place, record, columns)
        for place, record in enumerate(records)
        if (columns := _predicted(task, record.prediction, classes.get(record.version, nothing)))
    ]
    rows = identified(model, [record for _, record, _ in predicted])
    facts = [
        {
            _VERSION: record.version,
            "epoch": record.epoch,
            "device": record.device,
            "n": record.n,
            "record": place,
            **columns,
        }
        for place, record, columns in predicted
    ]
    frame = rows.join(pd.DataFrame(facts, index=rows.index)).dropna(subset=[EVENT_TIME, _MADE_AT])
    if frame.empty:
        return frame
    ordered = frame.sort_values([_MADE_AT, "device", "n"], kind="stable", ignore_index=True)
    return ordered.drop(columns=["device", "n"])


def _predicted(task: Task, value: object, classes: frozenset[str] = frozenset()) -> dict[str, Any] | None:
    """The columns of a stored prediction; None for what no model of the task, or with these classes, predicts.

    >>> _predicted(Task.MULTICLASS, {"a": 0.25, "b": 0.75}, frozenset("ab"))
    {'prediction': 'b', 'p_a': 0.25, 'p_b': 0.75}
    >>> _predicted(Task.MULTICLASS, {"a": 0.25, "c": 0.75}, frozenset("ab"))
    >>> _predicted(Task.BINARY, 1.5)
    """
    shares: dict[Any, Any] = value if isinstance(value, dict) else {"": value}
    if not shares or not all(isinstance(v, int | float) and not isinstance(v, bool) for v in shares.values()):
        return None
    try:
        numbers = {str(name): float(v) for name, v in shares.items()}
    except OverflowError:  # JSON has integers of any size
        return None
    if (task is Task.MULTICLASS) is not isinstance(value, dict) or not all(map(math.isfinite, numbers.values())):
        return None
    if task is not Task.REGRESSION and not all(0 <= v <= 1 for v in numbers.values()):
        return None
    if task is not Task.MULTICLASS:
        return {_PREDICTION: numbers[""]}
    if numbers.keys() != classes or abs(sum(numbers.values()) - 1) > _SUM:
        return None
    return {_PREDICTION: max(numbers, key=numbers.__getitem__), **{f"p_{name}": v for name, v in numbers.items()}}


def identified(model: Model, records: Sequence[Served]) -> pd.DataFrame:
    """Row id, event time and moment of each record, in order; the times of a record that cannot be read are missing."""
    if records:
        try:
            return _named(model, records)
        except SourceError:  # a value that is not of its column's kind
            if len(records) > 1:
                half = len(records) // 2
                parts = [identified(model, records[:half]), identified(model, records[half:])]
                return pd.concat(parts, ignore_index=True)
    nothing = pd.Series([pd.NaT] * len(records), dtype=TIME_UNIT)
    return pd.DataFrame({ROW_ID: np.zeros(len(records), np.int64), EVENT_TIME: nothing, _MADE_AT: nothing})


def _named(model: Model, records: Sequence[Served]) -> pd.DataFrame:
    """The same. Raises SourceError if a value is not of its column's kind."""
    config, facts = model.config, model.landed_facts()
    # A device writes ISO 8601, whatever the source does.
    reading = config.reading.model_copy(update={"time_format": None})
    kinds = settled(declared_kinds(reading, config.numeric_columns), facts.kinds)
    raw = pd.DataFrame({c: pd.Series([r.key.get(c) for r in records], dtype=object) for c in reading.key})
    raw[reading.time] = pd.Series([r.event_time for r in records], dtype=object)
    keys = key_values(raw, reading, {name: name for name in reading.key}, _PLACE, kinds)
    times = parse_times(raw[reading.time], reading.timezone, _PLACE).mask(keys.isna().any(axis=1))
    made = parse_times(pd.Series([r.time for r in records], dtype=object), reading.timezone, _PLACE)
    row_ids = np.zeros(len(records), dtype=np.int64)
    times = times.where(times < _LAST_PERIOD)
    starts = windows_of(times.dropna(), reading.period).map(lambda window: window.start)
    for start in starts.unique():
        of_window = np.asarray(starts.index[starts == start], dtype=np.intp)
        row_ids[of_window] = key_hash(keys.take(of_window), pd.Timestamp(start).to_pydatetime())
    return pd.DataFrame({ROW_ID: row_ids, EVENT_TIME: times, _MADE_AT: made})
