"""The ONNX form of a fitted pipeline: its file, its inputs, and how a feature frame becomes the numbers it takes.

Categories are numbered outside of the graph: that is quicker, and a missing text stays different from an unknown one.
The table for it is in the file's metadata, so the file alone is enough to predict.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.adapters.onnx import METADATA, ONNX_FILE
from trueup.errors import NoExporter

FORMAT = "trueup-onnx/1"
DOUBLE_TOLERANCE = 1e-9
FLOAT_TOLERANCE = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Input:
    """One column of the graph's single input.

    A number is rounded to `dtype` before the graph sees it. A category becomes its position in `categories`; `missing`
    and `unknown` are the numbers for a missing value and for a category that is not in the list.
    """

    name: str
    kind: Literal["number", "category"]
    dtype: Literal["float64", "float32"] = "float64"
    categories: tuple[str, ...] = ()
    missing: float = math.nan
    unknown: float = math.nan


@dataclass(frozen=True)
class Form:
    """A pipeline as an ONNX file; the bytes are the same for the same pipeline.

    The graph has one input `features`, float64 (n, len(inputs)), and one output `prediction`, float64 (n, 1) or
    (n, len(classes)). `tolerance` is the largest allowed difference from scikit-learn, relative to max(1, |value|).
    `classes` is empty unless the task is multiclass. `infinite` is whether numbers may be infinite: scikit-learn
    refuses them for some families, the graph never does.
    """

    graph: bytes
    inputs: tuple[Input, ...]
    tolerance: float
    classes: tuple[str, ...] = ()
    infinite: bool = False


def metadata(inputs: Sequence[Input], tolerance: float, classes: Sequence[str], task: str, infinite: bool) -> str:
    """The text for the file's metadata: JSON with sorted keys, null for NaN."""
    body = {
        "format": FORMAT,
        "task": task,
        "tolerance": tolerance,
        "classes": list(classes),
        "infinite": infinite,
        "inputs": [_described(i) for i in inputs],
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_form(graph: bytes) -> Form:
    """Read a form from its ONNX file alone. Raises NoExporter if the file is no form of this version."""
    import onnx

    try:
        properties = {p.key: p.value for p in onnx.load_from_string(graph).metadata_props}
        body: dict[str, Any] = json.loads(properties[METADATA])
        if body["format"] != FORMAT:
            raise ValueError(f"its format is {body['format']}")
        inputs = tuple(
            Input(
                name=i["name"],
                kind=i["kind"],
                dtype=i["dtype"],
                categories=tuple(i.get("categories", ())),
                missing=_number(i["missing"]),
                unknown=_number(i["unknown"]),
            )
            for i in body["inputs"]
        )
        return Form(graph, inputs, body["tolerance"], tuple(body["classes"]), body["infinite"])
    except Exception as error:  # protobuf has its own errors
        reason = str(error) or type(error).__name__
        raise NoExporter(f"{ONNX_FILE} is no ONNX form of {FORMAT} ({reason}); export the version again") from error


def dtypes_of(X: pd.DataFrame) -> dict[str, str]:
    """The dtype of each column of a feature frame as text, which an exporter needs."""
    return {str(name): str(dtype) for name, dtype in X.dtypes.items()}


def differences(predicted: Floats, expected: Floats) -> Floats:
    """The largest difference of each row (n,) between two predictions, (n,) or (n, k), relative to max(1, |expected|).

    A row with NaN in either of the two is NaN.
    """
    with np.errstate(invalid="ignore"):  # the difference of infinities
        apart = np.abs(predicted - expected) / np.maximum(1.0, np.abs(expected))
    largest: Floats = np.where(predicted == expected, 0.0, apart).reshape(len(expected), -1).max(axis=1)
    return largest


def encode(inputs: Sequence[Input], X: pd.DataFrame) -> Floats:
    """Make the graph's input (n, len(inputs)) of a feature frame, which may have more columns, in any order.

    Raises KeyError for a column that the frame lacks.
    """
    encoded = np.empty((len(X), len(inputs)))
    for position, column in enumerate(inputs):
        values = X[column.name]
        encoded[:, position] = _numbers(column, values) if column.kind == "number" else _codes(column, values)
    return encoded


def unknown_text(categories: Sequence[str]) -> str:
    """A text that is not in the list."""
    return "?" * (1 + max((len(category) for category in categories), default=0))


def _numbers(column: Input, values: pd.Series[Any]) -> Floats:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if column.dtype == "float64":
        return numbers
    with np.errstate(over="ignore"):  # a number too large for float32 is infinite there
        return numbers.astype(np.float32).astype(np.float64)


def _codes(column: Input, values: pd.Series[Any]) -> Floats:
    codes, distinct = pd.factorize(values)  # each distinct value is looked up once; a missing one has code -1
    positions = {category: position for position, category in enumerate(column.categories)}
    table = [float(positions.get(value, column.unknown)) for value in distinct]
    return np.array([*table, column.missing])[codes]


def _described(column: Input) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "dtype": column.dtype,
        "missing": _json_number(column.missing),
        "unknown": _json_number(column.unknown),
    }
    return {**described, "categories": list(column.categories)} if column.kind == "category" else described


def _json_number(number: float) -> float | None:
    return None if math.isnan(number) else number


def _number(number: float | None) -> float:
    return math.nan if number is None else float(number)
