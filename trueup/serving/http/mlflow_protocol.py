"""MLflow's scoring protocol, so that clients of `mlflow models serve` need no change.

A body has `dataframe_split`, `dataframe_records`, `instances` or `inputs`, or is CSV. Columns are the fields of the model,
or the inputs of the version by name, as MLflow's own server takes them; others are ignored, and named in the answer. An
answer has `predictions` as MLflow's server gives them: numbers, or for classes a list of probabilities each.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count, islice
from typing import Any, Final

import msgspec
from msgspec import structs

from trueup.hints import did_you_mean
from trueup.serving.encoding.mistakes import LIMIT, Mistake
from trueup.serving.http.answers import Answer
from trueup.serving.http.body import require_type
from trueup.serving.http.predict import Answered, Asked, Predictor
from trueup.serving.http.problems import refused_rows
from trueup.serving.http.rows import Rows, parsed, require_few, require_unique_keys, row_mistakes
from trueup.serving.loading.bundle import Bundle

TYPES: Final = ("application/json", "text/csv")

_FORMATS: Final = ("dataframe_split", "dataframe_records", "instances", "inputs")
_STEP: Final = 'send {"dataframe_records": [{...}]}, or one of dataframe_split, instances and inputs'
_MISSING: Final = frozenset({"", "nan", "na", "null", "none"})


class _Scored(msgspec.Struct):
    predictions: Sequence[Any]
    model: str
    version: int | None
    epoch: int | None
    role: str
    ids: Sequence[str]
    ignored: Sequence[str]  # columns that the model does not take


async def invoke(predictor: Predictor, body: bytes, asked: Asked, headers: Mapping[bytes, bytes]) -> Answered:
    """Answer a body of the protocol. Raises Problem."""
    bundle = predictor.bundle()
    kind = require_type(headers, TYPES)
    given = _csv_rows(body) if kind == "text/csv" else _json_rows(body)
    require_few(given, bundle.state.serve.max_rows)
    rows, ignored = _taken(bundle, given)
    if mistakes := list(islice(chain.from_iterable(map(_mistakes, count(), rows)), LIMIT)):
        raise refused_rows(mistakes)
    derived = structs.replace(asked, derived=True, history=False)
    return await predictor.predict_rows(
        bundle, rows, derived, asked.key, b"mlflow" + body, lambda answer: _written(answer, bundle, ignored)
    )


def _mistakes(number: int, row: dict[str, Any]) -> Iterator[Mistake]:
    return row_mistakes(f"rows[{number}]", row)


def _taken(bundle: Bundle, given: Rows) -> tuple[Rows, list[str]]:
    """The rows without columns that no version takes, and these."""
    known: set[str] = set()
    for version in filter(None, (bundle.champion, bundle.challenger)):
        known |= version.encoder.names | version.encoder.derived
    ignored = {str(name): None for row in given for name in row if name not in known}
    if not ignored:
        return given, []
    return [{name: value for name, value in row.items() if name in known} for row in given], list(ignored)[:100]


def _written(answer: Answer, bundle: Bundle, ignored: Sequence[str]) -> bytes:
    values = [one.prediction for one in answer.predictions]
    predictions: Sequence[Any] = values
    if bundle.state.task == "binary":
        predictions = [[1.0 - p, p] for p in values if isinstance(p, float)]
    elif bundle.state.task == "multiclass":
        predictions = [list(shares.values()) for shares in values if isinstance(shares, dict)]
    ids = [one.id for one in answer.predictions]
    scored = _Scored(predictions, answer.model, answer.version, answer.epoch, answer.role, ids, ignored)
    return msgspec.json.encode(scored)


def _json_rows(body: bytes) -> Rows:
    value = parsed(body)
    require_unique_keys(body)
    if not isinstance(value, dict):
        raise refused_rows([Mistake("the body", "is not an object", _STEP)])
    if "params" in value:
        raise refused_rows([Mistake("params", "are not taken by this model", "remove them")])
    if strange := sorted(value.keys() - {*_FORMATS}):
        name = strange[0][:100]
        raise refused_rows([Mistake(name, "is no format of rows", did_you_mean(name, _FORMATS, _STEP))])
    if len(value) != 1:
        raise refused_rows([Mistake("the body", "has no rows" if not value else "has rows in two formats", _STEP)])
    ((name, content),) = value.items()
    if name == "dataframe_split":
        return _split(content)
    if name == "inputs" and isinstance(content, dict):
        return _columns(content)
    return _records(name, content)


def _records(name: str, content: Any) -> Rows:
    if not isinstance(content, list) or not content:
        raise refused_rows([Mistake(name, "is no list with rows", "send a list of objects, at least one")])
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise refused_rows([Mistake(f"{name}[{number}]", "is not an object", "send the fields of a row by name")])
    return content


def _split(content: Any) -> Rows:
    place = "dataframe_split"
    if not isinstance(content, dict):
        raise refused_rows([Mistake(place, "is not an object", 'send {"columns": [...], "data": [[...]]}')])
    columns, data = content.get("columns"), content.get("data")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise refused_rows([Mistake(f"{place}.columns", "is no list of names", "send the names of the columns")])
    if len(set(columns)) < len(columns):
        raise refused_rows([Mistake(f"{place}.columns", "has a name twice", "send each column once")])
    if not isinstance(data, list) or not data:
        raise refused_rows([Mistake(f"{place}.data", "is no list with rows", "send a list of rows, at least one")])
    for number, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            what = f"is no list of {len(columns)} values"
            raise refused_rows([Mistake(f"{place}.data[{number}]", what, "send a value for each column")])
    return [dict(zip(columns, row, strict=True)) for row in data]


def _columns(content: dict[str, Any]) -> Rows:
    lengths = {len(values) if isinstance(values, list) else -1 for values in content.values()}
    if len(lengths) != 1 or min(lengths) < 1:
        what = "has columns that are no lists of the same length"
        raise refused_rows([Mistake("inputs", what, "send a list of values for each column")])
    return [dict(zip(content, values, strict=True)) for values in zip(*content.values(), strict=True)]


def _csv_rows(body: bytes) -> Rows:
    try:
        lines = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise refused_rows([Mistake("the body", f"is no CSV: {error}", "send UTF-8 with a line of names")]) from None
    names, rows = (lines[0], [line for line in lines[1:] if line]) if lines else ([], [])
    if not rows or len(set(names)) < len(names):
        raise refused_rows([Mistake("the body", "has no rows below a line of different names", "send both")])
    for number, line in enumerate(rows):
        if len(line) != len(names):
            what = f"has {len(line)} values for {len(names)} columns"
            raise refused_rows([Mistake(f"rows[{number}]", what, "send a value for each column")])
    return [dict(zip(names, map(_value, line), strict=True)) for line in rows]


def _value(text: str) -> str | float | None:
    """A value of CSV, as pandas reads it: a number where it is one.

    >>> [_value(text) for text in ("", "1.5", "UA", "inf")]
    [None, 1.5, 'UA', 'inf']
    """
    if text.strip().lower() in _MISSING:
        return None
    try:
        number = float(text)
    except ValueError:
        return text
    return number if abs(number) < float("inf") else text
