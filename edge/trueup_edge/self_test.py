"""The self-test: the bundle's parity rows, predicted on this device."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final

from trueup_edge.bundle import Bundle
from trueup_edge.errors import SelfTestFailed
from trueup_edge.manifest import PARITY
from trueup_edge.model import Model, Prediction

_INFINITE: Final = {"Infinity": math.inf, "-Infinity": -math.inf}


@dataclass(frozen=True)
class Agreement:
    """Number of parity rows, and the largest difference relative to max(1, |expected value|)."""

    rows: int
    difference: float


def self_test(bundle: Bundle) -> Agreement:
    """Predict the parity rows of a verified bundle one by one and all at once, and compare.

    Raises SelfTestFailed if a prediction differs by more than the manifest's tolerance, and if there is no row to compare
    or a row cannot be predicted.
    """
    model = Model(bundle)
    rows, expected = _parity_rows(bundle)
    try:
        alone = [model.predict(row) for row in rows]
        together = model.predict_many(rows)
    except Exception as error:  # onnxruntime's own exceptions have no common class but this
        raise SelfTestFailed(f"{PARITY} has a row that cannot be predicted: {error}") from None
    largest = 0.0
    for number, values in enumerate(expected, start=1):
        for prediction in (alone[number - 1], together[number - 1]):
            difference = _difference(_numbers(prediction), values)
            if not difference <= bundle.manifest.tolerance:  # NaN is not, either
                raise SelfTestFailed(
                    f"row {number} of {PARITY}: predicted {_numbers(prediction)}, expected {values} (difference "
                    f"{difference:.3g}, allowed {bundle.manifest.tolerance:g}); this device's onnxruntime computes "
                    "otherwise, install another version"
                )
            largest = max(largest, difference)
    return Agreement(len(rows), largest)


def _parity_rows(bundle: Bundle) -> tuple[list[dict[str, Any]], list[list[float]]]:
    numbers = {column.name for column in bundle.manifest.inputs if column.kind == "number"}
    rows, expected = [], []
    try:
        for line in filter(None, bundle.files[PARITY].decode().split("\n")):
            entry = json.loads(line)
            rows.append({name: _value(value) if name in numbers else value for name, value in entry["row"].items()})
            expected.append([float(value) for value in entry["prediction"]])
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError) as error:
        raise SelfTestFailed(f"{PARITY} cannot be read ({error!r}); export the bundle anew") from None
    if not rows:
        raise SelfTestFailed(f"{PARITY} has no rows, so nothing can be compared; export the bundle anew")
    return rows, expected


def _value(value: Any) -> Any:
    """JSON has no infinity, so parity rows write it as text."""
    return _INFINITE.get(value, value) if isinstance(value, str) else value


def _numbers(prediction: Prediction) -> list[float]:
    return list(prediction.values()) if isinstance(prediction, dict) else [prediction]


def _difference(predicted: list[float], expected: list[float]) -> float:
    if len(predicted) != len(expected) or not all(map(math.isfinite, [*predicted, *expected])):
        return math.inf
    return max(abs(p - e) / max(1.0, abs(e)) for p, e in zip(predicted, expected, strict=True))
