"""Records: dataclasses of plain values, to and from the JSON in which homes and ledgers hold them.

>>> from trueup.domain.types import Metric
>>> from_json(Metric, '{"name": "auc", "value": 0.7, "n": 9, "later_field": 1}') == Metric("auc", 0.7, 9)
True
"""

from __future__ import annotations

import math
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import BeforeValidator, ConfigDict, PlainSerializer, TypeAdapter

T = TypeVar("T")


def _bounded(infinity: float) -> tuple[BeforeValidator, PlainSerializer]:
    return (
        BeforeValidator(lambda value: infinity if value is None else value),
        PlainSerializer(lambda value: value if math.isfinite(value) else None),
    )


# JSON has no infinity: it is written as null.
Low = Annotated[float, *_bounded(-math.inf)]
High = Annotated[float, *_bounded(math.inf)]


_EXACT = ConfigDict(ser_json_inf_nan="constants")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    # A float field keeps NaN and infinity by itself, a container of any values only with this setting.
    return TypeAdapter(kind, config=_EXACT if kind in {dict, list, tuple} else None)


def to_plain(record: Any) -> Any:
    """A record as plain values: dicts, lists, texts and numbers."""
    kind: Any = type(record)
    return _adapter(kind).dump_python(record, mode="json", by_alias=True)


def from_plain(kind: type[T], values: Any) -> T:
    """The record that `to_plain` wrote; keys that it does not have are left out."""
    return cast(T, _adapter(cast(Any, kind)).validate_python(values))


def from_json(kind: type[T], text: str) -> T:
    """The record in a JSON text."""
    return cast(T, _adapter(cast(Any, kind)).validate_json(text))
