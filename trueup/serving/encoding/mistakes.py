"""Names the mistakes of rows that cannot be encoded: all at once, with the place and the next step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trueup.errors import UsageError
from trueup.hints import did_you_mean
from trueup.serving.encoding.inputs import Row, local_time

if TYPE_CHECKING:
    from trueup.serving.encoding.encoder import Encoder

LIMIT: Final = 20  # mistakes that an answer lists
_SHOWN: Final = 60  # characters of a value
_FLOAT32_LIMIT: Final = 3.4028235677973366e38  # numbers from here on round to infinity


class Mistake(msgspec.Struct, frozen=True):
    """A mistake in a request: the place in its body, what is wrong there, and what to do."""

    where: str
    what: str
    next: str


class RowsRefused(UsageError):
    """Rows of a request have mistakes: `mistakes` has the first of them, at most `LIMIT`."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("; ".join(f"{m.where}: {m.what}; {m.next}" for m in mistakes))


def find(encoder: Encoder, rows: Sequence[Row], *, derived: bool) -> None:
    """Raise RowsRefused with the mistakes of some rows. Returns if there are none."""
    found: list[Mistake] = []
    for number, row in enumerate(rows):
        for name, what, step in _of_row(encoder, row, derived):
            found.append(Mistake(f"rows[{number}].{name}" if name else f"rows[{number}]", what, step))
            if len(found) == LIMIT:
                raise RowsRefused(found)
    if found:
        raise RowsRefused(found)


def shown(value: object) -> str:
    """A value of a request for a message, shortened.

    >>> shown("x" * 100)
    "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…"
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a whole number of thousands of digits, a list of thousands of lists
        return f"a huge {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


Found = Iterator[tuple[str, str, str]]  # field, what, next


def _of_row(encoder: Encoder, row: Row, derived: bool) -> Found:
    """The mistakes of a row, one by one: who has enough of them stops, as a row may have thousands."""
    right = True
    parts = _unknown_fields(encoder, row, derived), _of_times(encoder, row, derived), _of_inputs(encoder, row)
    for mistake in chain(*parts, _of_key(encoder, row)):
        right = False
        yield mistake
    if right and encoder.custom is not None:
        yield from _of_custom(encoder, row)


def _unknown_fields(encoder: Encoder, row: Row, derived: bool) -> Found:
    if derived:
        return
    for name in row:
        if name in encoder.names:
            continue
        if name in encoder.derived:
            yield name, "is computed here", "remove it, and send the fields that it is computed from"
        else:
            step = did_you_mean(name, encoder.names, "remove it; GET .../schema lists the fields")
            yield _place(name), "is no field of this model", step


def _of_times(encoder: Encoder, row: Row, derived: bool) -> Found:
    for field in encoder.time_fields:
        value = row.get(field)
        if value is None:
            if field == encoder.time and encoder.needs_time and not (derived and encoder.needs_time.issubset(row)):
                yield (
                    field,
                    "is missing",
                    "give the time of the row, such as 2024-01-31T18:30:00: features depend on it",
                )
            continue
        try:
            local_time(value, encoder.zone)
        except ValueError:
            yield field, f"is {shown(value)}, which is no time", "write it as 2024-01-31T18:30:00"


def _of_inputs(encoder: Encoder, row: Row) -> Found:
    for column in encoder.inputs:
        value = row.get(column.name)
        if value is None:
            continue
        if column.kind == "category":
            if not isinstance(value, str | bool | int | float):
                yield column.name, f"is {shown(value)}, {_kind(value)}", "give a text, or null if it is missing"
        elif not isinstance(value, bool | int | float):
            yield column.name, f"is {shown(value)}, {_kind(value)}", "give a number, or null if it is missing"
        elif problem := _size_problem(value, rounded=column.dtype == "float32", infinite=column.infinite):
            yield column.name, *problem


def _size_problem(value: float, *, rounded: bool, infinite: bool) -> tuple[str, str] | None:
    try:
        number = float(value)
    except OverflowError:
        return "is a whole number too large for a float", "give one below 1e308"
    beyond = math.isinf(number) or (rounded and abs(number) >= _FLOAT32_LIMIT)
    if beyond and not infinite:
        return (
            f"is {shown(value)}, which is infinite to this model",
            "give a smaller number, or null if it is not known",
        )
    return None


def _of_key(encoder: Encoder, row: Row) -> Found:
    inputs = set(encoder.columns)
    for name in encoder.key:
        value = row.get(name)
        if name not in inputs and not isinstance(value, str | bool | int | float | None):
            yield name, f"is {shown(value)}, {_kind(value)}", "give a text or a number"


def _of_custom(encoder: Encoder, row: Row) -> Found:
    function = encoder.custom_name
    try:
        made = encoder.custom_of(row, encoder.times_of(row))
    except Exception as error:  # of the user's function, whatever it is
        reason = " ".join(str(error).split())[:200]
        yield "", f"{function} raised {type(error).__name__}: {reason}", "check the fields that it takes, or mend it"
        return
    for name in sorted(encoder.custom_inputs):
        if name not in made:
            yield "", f"{function} returned no {name}", "let it return all features"
        elif not isinstance(made[name], str | bool | int | float | None):
            yield "", f"{function} returned {shown(made[name])} as {name}", "let it return a number, or None"


def _kind(value: object) -> str:
    names: dict[type[Any], str] = {str: "a text", list: "a list", dict: "an object", bool: "true or false"}
    return names.get(type(value), "a number")


def _place(name: str) -> str:
    """A field's name for a message: it comes from the client, and may be long or strange."""
    return name if len(name) <= _SHOWN and name.isprintable() else shown(name)
