"""Stored predictions, with the labels that have become known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.config.tasks import Task
from trueup.domain.types import LABEL


def prediction_in(config: ModelConfig, joined: pd.DataFrame, classes: Sequence[str] | None) -> np.ndarray:
    """The predictions in a frame: (n,), or (n, k) in the order of `classes`, with 0 for classes unknown to the version."""
    if config.task is not Task.MULTICLASS:
        return joined["prediction"].to_numpy()
    predictions = joined.reindex(columns=[f"p_{c}" for c in classes or []]).to_numpy(dtype=np.float64)
    return np.where(np.isnan(predictions) & ~np.isnan(predictions).all(axis=1, keepdims=True), 0.0, predictions)


def classes_of(config: ModelConfig, joined: pd.DataFrame) -> list[str] | None:
    """The sorted classes of a multiclass task in predictions or labels."""
    if config.task is not Task.MULTICLASS:
        return None
    predicted = {c.removeprefix("p_") for c in joined.columns if c.startswith("p_")}
    return sorted(predicted | ({*joined[LABEL]} if LABEL in joined else set()))
