"""Rows of a request become the features of one version: numbers, codes of categories, calendar, history, custom.

The encoder is made once for a loaded version, never changes, and may be shared by threads. Rows are checked whole: the
quick way stops at the first sign of a mistake, and `mistakes.find` then names all of them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Protocol
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from trueup.serving.encoding import mistakes
from trueup.serving.encoding.inputs import CALENDAR, Input, Row, category_text, codes_of, local_time, microseconds
from trueup.serving.state import State

Floats = npt.NDArray[np.float64]
CustomFeatures = Callable[[dict[str, Any]], Mapping[str, Any]]

_NUMBERS: Final = frozenset({float, int, bool, type(None)})
_SCALARS: Final = frozenset({float, int, bool, str, type(None)})
_NONE: Final[tuple[str, ...]] = ()


class HistoryPlan(Protocol):
    """Computes history features of a row, in the order of the names that the plan was made for."""

    def values(self, row: Mapping[str, Any], now_us: int) -> list[float]:
        """The features of a row at a local moment in microseconds, before rounding; NaN without a value."""

    def incomplete(self, now_us: int) -> Sequence[str]:
        """The features that miss a part of their past at that moment, because it is older than what is published."""


class Encoded(msgspec.Struct, frozen=True):
    """Rows as features (rows, inputs), and what is to be said about each of them."""

    features: Floats
    missing: Sequence[tuple[str, ...]]  # fields without a value, of which the version takes features
    unknown: Sequence[tuple[str, ...]]  # fields with a category that the version does not know
    times: Sequence[str | None]  # event times: ISO 8601, local to the model
    keys: Sequence[dict[str, Any] | None]  # values of the key columns; None if one of them is missing


class Encoder:
    """Encodes rows for one version.

    `history` computes the features of the inputs `history_inputs(inputs)`, in their order. `custom` takes the fields of
    a row, with times as local datetimes, and returns the other features.

    With `derived=True` a row may also have inputs that are computed otherwise (calendar, history, custom) by their names,
    which is how clients of other servers send them; fields that the version does not take are then ignored.
    """

    def __init__(
        self,
        inputs: Sequence[Input],
        state: State,
        *,
        history: HistoryPlan | None = None,
        custom: CustomFeatures | None = None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.fields = state.fields
        self.names = frozenset(field.name for field in state.fields)
        self.zone = ZoneInfo(state.timezone)
        self.time = state.time
        self.key = state.key
        self.history, self.custom = history, custom
        self.columns = [column.name for column in inputs]
        self.derived = frozenset(c.name for c in inputs if c.of in {"calendar", "history", "custom"})
        personal = set(state.serve.personal)
        self.personal = [i for i, c in enumerate(inputs) if c.name in personal or c.column in personal]
        self.custom_name = state.serve.features or "the custom function"
        self.needs_time = frozenset(  # inputs that are computed from the event time
            c.name for c in inputs if c.of == "history" or (c.of == "calendar" and c.column == state.time)
        )
        self._prepare_numbers()
        self._categories = [
            (i, c.name, codes_of(c.categories), _number(c.missing), _number(c.unknown))
            for i, c in enumerate(inputs)
            if c.kind == "category"
        ]
        self._calendar = [(i, c.name, c.column, CALENDAR[c.part]) for i, c in enumerate(inputs) if c.of == "calendar"]
        self._history = [(i, c.name) for i, c in enumerate(inputs) if c.of == "history"]
        self._custom = [(i, c.name) for i, c in enumerate(inputs) if c.of == "custom"]
        self.custom_inputs = frozenset(name for _, name in self._custom)
        self.time_fields = self._time_fields()

    def _prepare_numbers(self) -> None:
        numbers = [column.kind == "number" for column in self.inputs]
        self._rounded = np.array(
            [  # history is float32 by definition
                n and (c.dtype == "float32" or c.of == "history") for c, n in zip(self.inputs, numbers, strict=True)
            ]
        )
        self._finite = np.array([n and not c.infinite for c, n in zip(self.inputs, numbers, strict=True)])
        self._filled = [
            (i, c.missing)
            for i, c in enumerate(self.inputs)
            if c.kind == "number" and c.missing is not None and not math.isnan(c.missing)
        ]
        self._any_rounded, self._any_finite = bool(self._rounded.any()), bool(self._finite.any())
        self._packed = struct.Struct("=" + "".join("f" if rounded else "d" for rounded in self._rounded))

    def _time_fields(self) -> list[str]:
        """The fields that are read as times: the event time first."""
        of_calendar = [column for _, _, column, _ in self._calendar]
        fields = {field.name for field in self.fields if field.kind == "time"}
        return list(dict.fromkeys([self.time, *of_calendar, *sorted(fields)]))

    def encode(self, rows: Sequence[Row], *, derived: bool = False) -> Encoded:
        """Encode rows. Raises RowsRefused with the mistakes of all rows."""
        try:
            return self._encode(rows, derived)
        except (_Wrong, ValueError, TypeError, OverflowError, struct.error):
            mistakes.find(self, rows, derived=derived)
            raise

    def encode_inputs(self, rows: Sequence[Row]) -> Floats:
        """Encode rows that have all inputs by name, as the parity rows of a bundle do: (rows, inputs)."""
        missing: list[str] = []
        return self._array([self._direct(row, missing, missing) for row in rows])

    def history_of(self, features: Floats) -> list[dict[str, float | None]]:
        """The history features by name, of each row of some features (rows, inputs); None for NaN."""
        return [
            {name: None if math.isnan(row[i]) else row[i] for i, name in self._history} for row in features.tolist()
        ]

    def times_of(self, row: Row) -> dict[str, datetime | None]:
        """The fields of a row that are times, local to the model. Raises ValueError for a value that is no time."""
        return {name: None if row.get(name) is None else local_time(row[name], self.zone) for name in self.time_fields}

    def custom_of(self, row: Row, times: Mapping[str, datetime | None]) -> Mapping[str, Any]:
        """What the custom function returns for a row. Raises what that function raises."""
        assert self.custom is not None
        return self.custom({**dict.fromkeys(self.names), **row, **{n: t for n, t in times.items() if n in self.names}})

    def _encode(self, rows: Sequence[Row], derived: bool) -> Encoded:
        allowed = self.names | self.derived if derived else self.names
        coded: list[list[Any]] = []
        missing, unknown, times, keys = [], [], [], []
        for row in rows:
            if not derived and not allowed.issuperset(row):
                raise _Wrong
            lacking: list[str] = []
            strange: list[str] = []
            values = self._direct(row, lacking, strange)
            moments = self.times_of(row)
            self._derive(values, row, moments, lacking, derived)
            if not _NUMBERS.issuperset(map(type, values)):
                raise _Wrong
            coded.append(values)
            missing.append(tuple(dict.fromkeys(lacking)) if lacking else _NONE)
            unknown.append(tuple(strange) if strange else _NONE)
            texts = {name: None if time is None else time.isoformat() for name, time in moments.items()}
            times.append(texts[self.time])
            keys.append(self._key(row, texts))
        return Encoded(self._array(coded), missing, unknown, times, keys)

    def _direct(self, row: Row, lacking: list[str], strange: list[str]) -> list[Any]:
        """The values of the inputs that a row has, categories as codes; notes missing and unknown ones."""
        values: list[Any] = list(map(row.get, self.columns))
        for position, name, codes, missing, unknown in self._categories:
            value = values[position]
            if value is None:
                values[position] = missing
                if name not in self.derived:
                    lacking.append(name)
                continue
            code = codes.get(value if type(value) is str else category_text(value))
            if code is None:
                strange.append(name)
                code = unknown
            values[position] = code
        if None in values:
            lacking += [n for n, v in zip(self.columns, values, strict=True) if v is None and n not in self.derived]
        return values

    def _derive(
        self, values: list[Any], row: Row, times: Mapping[str, datetime | None], lacking: list[str], derived: bool
    ) -> None:
        """Fill in the calendar, history and custom inputs of a row."""
        for position, name, column, part in self._calendar:
            if derived and name in row:
                continue
            time = times[column]
            if time is not None:
                values[position] = part(time)
            elif column == self.time:
                raise _Wrong
            else:
                lacking.append(column)
        if self._history and not (derived and all(name in row for _, name in self._history)):
            self._fill_history(values, row, times[self.time], lacking, derived)
        if self._custom and not (derived and all(name in row for _, name in self._custom)):
            self._fill_custom(values, row, times)

    def _fill_history(
        self, values: list[Any], row: Row, time: datetime | None, lacking: list[str], derived: bool
    ) -> None:
        if time is None or self.history is None:
            raise _Wrong
        now = microseconds(time)
        for (position, name), value in zip(self._history, self.history.values(row, now), strict=True):
            if not derived or name not in row:
                values[position] = value
        lacking += self.history.incomplete(now)

    def _fill_custom(self, values: list[Any], row: Row, times: Mapping[str, datetime | None]) -> None:
        try:
            made = self.custom_of(row, times)
        except Exception:  # of the user's function, whatever it is: `mistakes` names it
            raise _Wrong from None
        only = {name: made[name] for _, name in self._custom if name in made}
        if len(only) < len(self._custom):
            raise _Wrong
        coded = self._direct(only, [], [])
        for position, _ in self._custom:
            values[position] = coded[position]

    def _key(self, row: Row, times: Mapping[str, str | None]) -> dict[str, Any] | None:
        """The values of the key columns, times as ISO text; None if one is missing, or if the model has no key."""
        key: dict[str, Any] = {}
        for name in self.key:
            value: Any = row.get(name)
            if type(value) not in _SCALARS:
                raise _Wrong
            if value is None:
                return None
            time = times.get(name)
            key[name] = value if time is None else time
        return key or None

    def _array(self, coded: list[list[Any]]) -> Floats:
        """Values as the array that the graph takes (rows, inputs): rounded, filled, finite where that is needed."""
        if len(coded) == 1:
            features = self._one(coded[0])
            if features is not None:
                return features
        if not coded:
            return np.empty((0, len(self.columns)))
        features = np.array(coded, dtype=np.float64)
        if self._any_rounded:
            with np.errstate(over="ignore"):  # a value beyond float32 becomes infinite, as where the model was trained
                np.copyto(features, features.astype(np.float32), where=self._rounded)
        if self._any_finite and bool((np.isinf(features) & self._finite).any()):
            raise _Wrong
        for position, value in self._filled:
            features[np.isnan(features[:, position]), position] = value
        return features

    def _one(self, values: list[Any]) -> Floats | None:
        """One row in two thirds of the time; None if it needs a closer look."""
        if None in values:
            values = [math.nan if value is None else value for value in values]
        if self._any_rounded:
            try:
                values = list(self._packed.unpack(self._packed.pack(*values)))
            except (OverflowError, struct.error):  # a number beyond float32, or a whole one beyond float64
                return None
        if self._any_finite and not math.isfinite(sum(values)) and (math.inf in values or -math.inf in values):
            return None
        features: Floats = np.array(values, dtype=np.float64).reshape(1, -1)
        for position, value in self._filled:
            if math.isnan(values[position]):
                features[0, position] = value
        return features


def joins(encoded: Encoded, row: int) -> bool:
    """Whether a prediction can be joined to its row: it has a whole key and an event time."""
    return encoded.keys[row] is not None and encoded.times[row] is not None


def history_inputs(inputs: Sequence[Input]) -> list[str]:
    """The names of the inputs that are history features, in order.

    A plan of the history is made for them.
    """
    return [column.name for column in inputs if column.of == "history"]


class _Wrong(Exception):
    """A row has a mistake."""


def _number(value: float | None) -> float:
    return math.nan if value is None else value
