"""JSON without what parsers disagree about: no duplicate keys, no NaN; and the canonical form that is signed."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from trueup_edge.errors import NotTrusted


def parse(data: bytes, where: str) -> dict[str, Any]:
    """Parse an object. Raises NotTrusted, naming `where`, for anything else."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise NotTrusted(f"{where} is not valid JSON ({error}); get it again") from None
    if not isinstance(value, dict):
        raise NotTrusted(f"{where} is not a JSON object; get it again")
    return value


def canonical(value: object) -> bytes:
    """Write a value of text, whole numbers, lists and objects: sorted keys, no white space, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")
