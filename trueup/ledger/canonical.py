"""One text for one value: the JSON that the ledger hashes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

import orjson

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False)
# Values that orjson would write in its own way, such as dataclasses, go through `_plain`.
_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")


def canonical(value: Any) -> str:
    """Write a value as canonical JSON: sorted keys, no white space, ASCII only.

    Dates and times are written in ISO 8601, numpy scalars as numbers, enums as their values. NaN, NaT and infinities are
    written as null. Raises TypeError, naming the place, for values without a single text: sets, keys that are not text,
    objects.

    >>> canonical({"b": float("nan"), "a": datetime(2013, 3, 1)})
    '{"a":"2013-03-01T00:00:00","b":null}'
    """
    try:
        text = orjson.dumps(value, _plain, _OPTIONS).decode()
    except TypeError:  # a key that is an enum, a number of more than 64 bits, half a character; or nothing for JSON
        return _ENCODER.encode(_plain(value))
    return text if text.isascii() else _NOT_ASCII.sub(lambda match: _ENCODER.encode(match[0])[1:-1], text)


def _plain(value: Any, place: tuple[object, ...] = ("value",)) -> Any:
    # A place is put into words only for an error.
    kind = type(value)
    if kind is str or kind is int or kind is bool or value is None:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise TypeError(f"{_words(place)}: {odd[0]!r} is a key; only text can be one in JSON")
        return {str(key): _plain(item, (*place, key)) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, (*place, index)) for index, item in enumerate(value)]
    return _rare(value, place)


def _rare(value: Any, place: tuple[object, ...]) -> Any:
    if isinstance(value, Enum):
        return _plain(value.value, place)
    import numpy as np  # here, because `trueup --help` and `trueup serve` load this module and write nothing

    if isinstance(value, np.generic):
        return _plain(value.item(), place)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, date):  # datetime and pandas.Timestamp among them; NaT is unequal to itself
        return value.isoformat() if value == value else None
    raise TypeError(f"{_words(place)}: {type(value).__name__} cannot be written as canonical JSON; give plain values")


def _words(place: tuple[object, ...]) -> str:
    first, *rest = place
    return f"{first}" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in rest)


def stamp(moment: datetime) -> str:
    """Write a moment so that text order is time order (among moments that all have an offset, or all have none).

    >>> stamp(datetime(2013, 3, 1))
    '2013-03-01T00:00:00.000000'
    """
    return moment.isoformat(timespec="microseconds")
