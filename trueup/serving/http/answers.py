"""The answer to a request for predictions."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from trueup.serving.encoding.encoder import joins
from trueup.serving.http.records import Context, Predicted
from trueup.serving.loading.bundle import Version

Floats = npt.NDArray[np.float64]
Value = float | dict[str, float]  # a number, or the probability of each class

MIXED: Final = "mixed"  # the role of an answer whose rows were answered by different versions

_UNSET: Final = msgspec.UNSET
_encoder: Final = msgspec.json.Encoder()


class Prediction(msgspec.Struct):
    """What is said about one row."""

    id: str
    prediction: Value
    missing: Sequence[str] = ()  # fields without a value, and history features whose past is not all there
    unknown: Sequence[str] = ()  # fields with a category that the version does not know
    # If versions or keys of the rows differ, or history features are asked for:
    role: str | msgspec.UnsetType = _UNSET
    version: int | msgspec.UnsetType = _UNSET
    epoch: int | msgspec.UnsetType = _UNSET
    fallback: bool | msgspec.UnsetType = _UNSET  # the champion answered a row that was the challenger's
    joinable: bool | msgspec.UnsetType = _UNSET
    history: dict[str, float | None] | msgspec.UnsetType = _UNSET


class Answer(msgspec.Struct):
    """What is said about a request. With the role `mixed`, version and epoch are those of each prediction."""

    model: str
    version: int | None
    epoch: int | None
    role: str
    predictions: list[Prediction]
    logged: bool  # the prediction log has them
    recorded: bool  # they count as the predictions of their rows
    joinable: bool  # all rows have a whole key and an event time


def written(answer: Answer) -> bytes:
    """The answer's bytes."""
    return _encoder.encode(answer)


def _values(version: Version, predictions: Floats) -> list[Value]:
    """Predictions (rows, outputs) as an answer has them."""
    if version.classes:
        return [dict(zip(version.classes, row, strict=True)) for row in predictions.tolist()]
    values: list[Value] = predictions[:, 0].tolist()
    return values


def ids() -> Callable[[], str]:
    """Make a source of ids that no other process, and no other source, makes."""
    start, counter = secrets.token_hex(8), itertools.count(1)
    return lambda: f"{start}-{next(counter):x}"


def answer_of(
    model: str, parts: Sequence[Predicted], context: Context, *, logged: bool, history: bool = False
) -> Answer:
    """The answer to a request of which versions predicted all rows, each row by one of them."""
    mixed = len(parts) > 1 and len({(part.version.version, part.role) for part in parts}) > 1
    said: dict[int, Prediction] = {}
    for part in parts:
        for row, one in zip(part.rows, _predictions(part, context.ids, history=history), strict=True):
            if mixed:
                one.role, one.version, one.epoch = part.role, part.version.version, part.version.epoch
            if part.fallback:
                one.fallback = True
            said[row] = one
    joinable = not any(None in part.encoded.keys or None in part.encoded.times for part in parts)
    if not joinable:
        for part in parts:
            for i, row in enumerate(part.rows):
                said[row].joinable = joins(part.encoded, i)
    first = parts[0]
    return Answer(
        model,
        None if mixed else first.version.version,
        None if mixed else first.version.epoch,
        MIXED if mixed else first.role,
        [said[row] for row in range(len(said))],
        logged,
        logged and context.recorded,
        joinable,
    )


def _predictions(part: Predicted, ids: Sequence[str], *, history: bool) -> list[Prediction]:
    assert part.predictions is not None
    rows, values = part.encoded, _values(part.version, part.predictions)
    said = [Prediction(ids[row], values[i], rows.missing[i], rows.unknown[i]) for i, row in enumerate(part.rows)]
    if history:
        for one, features in zip(said, part.version.encoder.history_of(rows.features), strict=True):
            one.history = features
    return said
