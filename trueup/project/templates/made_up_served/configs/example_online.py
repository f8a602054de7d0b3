"""The features of example_features.py for one row: `serve.features` in example.yaml names the function for `trueup serve`."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def online(row: Mapping[str, Any]) -> dict[str, float]:
    """Give the same names and values as `example_features.features`. A field without a value is None."""
    weight, distance = row["weight_kg"], row["distance_km"]
    missing = weight is None or distance is None
    return {"log_load": float("nan") if missing else float(np.log1p(float(weight) * float(distance)))}
