"""Reads the body of a request for predictions: one row or several, and an optional id.

The quick way decodes straight into rows of plain values. Whatever it refuses is read again, slowly, to name all mistakes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from trueup.hints import did_you_mean
from trueup.serving.encoding.mistakes import LIMIT, Mistake, shown
from trueup.serving.http.problems import Problem, refused_rows

Scalar = str | bool | int | float | None
Rows = list[dict[str, Any]]
LONGEST_ID: Final = 255  # characters of an idempotency key

_UNSET: Final = msgspec.UNSET


class _Request(msgspec.Struct, forbid_unknown_fields=True):
    row: dict[str, Scalar] | msgspec.UnsetType = _UNSET
    rows: list[dict[str, Scalar]] | msgspec.UnsetType = _UNSET
    id: str | msgspec.UnsetType | None = _UNSET


_decoder: Final = msgspec.json.Decoder(_Request)
_STEP: Final = 'send {"row": {...}} or {"rows": [{...}]}'
_FIELDS: Final = ("row", "rows", "id")


def read_rows(body: bytes, max_rows: int) -> tuple[Rows, str | None]:
    """The rows of a request, at least one and at most `max_rows`, and its id. Raises Problem."""
    try:
        request = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _refused(body) from None
    row, rows, key = request.row, request.rows, request.id
    keys = (row is not _UNSET) + (rows is not _UNSET) + (key is not _UNSET)
    if isinstance(row, dict) and not isinstance(rows, list):
        rows = [row]
    elif not isinstance(rows, list) or isinstance(row, dict) or not rows:
        raise refused_rows(_shape_mistakes(request))
    require_few(rows, max_rows)
    if _may_repeat_keys(body, keys + sum(map(len, rows))):
        require_unique_keys(body)
    return rows, _checked_id(key)


def parsed(body: bytes) -> Any:
    """Any JSON, with the mistakes of JSON itself named. Raises Problem."""
    try:
        return msgspec.json.decode(body)
    except UnicodeDecodeError:
        raise Problem(400, "not-json", "the body is not UTF-8; encode it so") from None
    except RecursionError:
        raise Problem(400, "not-json", "the body nests too deeply; send rows of plain values") from None
    except msgspec.DecodeError as error:
        raise Problem(400, "not-json", _json_mistake(body, str(error))) from None


def require_few(rows: Sequence[object], max_rows: int) -> None:
    """Raise Problem for more rows than the model's config allows."""
    if len(rows) > max_rows:
        raise Problem(
            413,
            "too-large",
            f"the request has {len(rows)} rows, at most {max_rows} are taken at once; send it in parts",
        )


def _checked_id(key: str | msgspec.UnsetType | None) -> str | None:
    if not isinstance(key, str):
        return None
    return checked_key(key)


def checked_key(key: str) -> str:
    """An idempotency key of a reasonable length. Raises Problem."""
    if not 0 < len(key) <= LONGEST_ID:
        raise refused_rows([Mistake("id", f"has {len(key)} characters", f"give 1 to {LONGEST_ID}, such as a UUID")])
    return key


def _json_mistake(body: bytes, reason: str) -> str:
    if not body.strip():
        return 'the body is empty; send {"row": {...}} or {"rows": [{...}]}'
    if "out of range" in reason:
        return "a number is too large for JSON's double precision; send smaller numbers, or null"
    if any(word in body for word in (b"NaN", b"Infinity")):
        return f"{_plain(reason)}; NaN and Infinity are no JSON: send null for a missing value"
    return f"{_plain(reason)}; check the body with a JSON parser"


def _plain(reason: str) -> str:
    """What msgspec says, without its paths into our own types.

    >>> _plain("JSON is malformed: invalid character (byte 12)")
    'invalid character (byte 12)'
    """
    return reason.removeprefix("JSON is malformed: ").split(" - at ")[0]


def _may_repeat_keys(body: bytes, keys: int) -> bool:
    """Whether keys of an object may occur twice in a body with so many different keys.

    Each key is followed by `":`, unless white space comes between. False is certain.
    """
    return body.count(b'":') != keys or any(
        space in body and space + b":" in body for space in (b" ", b"\t", b"\n", b"\r")
    )


def require_unique_keys(body: bytes) -> None:
    """Raise Problem if an object of some valid JSON has a key twice."""
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _Repeated as error:
        raise Problem(400, "not-json", f"{error}; send each key once") from None


class _Repeated(ValueError):
    """A key occurs twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise _Repeated(f"the key {shown(name)} occurs twice in an object")
        made[name] = value
    return made


def _refused(body: bytes) -> Problem:
    """The problem of a body that is no request."""
    value = parsed(body)
    mistakes: list[Mistake] = []
    for mistake in _mistakes(value):
        mistakes.append(mistake)
        if len(mistakes) == LIMIT:
            break
    return refused_rows(mistakes or [Mistake("the body", "is no request", _STEP)])


def _shape_mistakes(request: _Request) -> Sequence[Mistake]:
    given = {name: value for name in _FIELDS if (value := getattr(request, name)) is not _UNSET}
    return list(_mistakes(given))


def _mistakes(value: Any) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield Mistake("the body", f"is {_kind(value)}, not an object", _STEP)
        return
    for name in value.keys() - set(_FIELDS):
        hint = did_you_mean(name, _FIELDS, _STEP)
        yield Mistake(shown(name), "is no part of a request", hint)
    if ("row" in value) == ("rows" in value):
        yield Mistake("the body", "has both row and rows" if "row" in value else "has no rows", _STEP)
    if "id" in value and not isinstance(value["id"], str | None):
        yield Mistake("id", f"is {_kind(value['id'])}, not a text", "give a text, such as a UUID")
    if "row" in value:
        yield from row_mistakes("row", value["row"])
    if "rows" in value:
        yield from _list_mistakes(value["rows"])


def _list_mistakes(rows: Any) -> Iterator[Mistake]:
    if not isinstance(rows, list) or not rows:
        what = "is empty" if rows == [] else f"is {_kind(rows)}, not a list"
        yield Mistake("rows", what, "send a list of objects, at least one")
        return
    for number, row in enumerate(rows):
        yield from row_mistakes(f"rows[{number}]", row)


def row_mistakes(where: str, row: Any) -> Iterator[Mistake]:
    """What is wrong with the shape of a row: each value has to be plain."""
    if not isinstance(row, dict):
        yield Mistake(where, f"is {_kind(row)}, not an object", "send the fields of the row by name")
        return
    for name, value in row.items():
        if not isinstance(value, str | bool | int | float | None):
            yield Mistake(f"{where}.{name}"[:100], f"is {_kind(value)}", "send a text, a number, true, false or null")


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(
        type(value), "a number"
    )
