"""Predictions that were made, with the labels that came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import pandas as pd

from trueup.config.schema import ModelConfig, Task
from trueup.domain.data.types import KNOWN_AT, LABEL, ROW_ID, Batch
from trueup.model import Model


def joined_predictions(model: Model, batch: Batch, as_of: datetime, role: str = "champion") -> pd.DataFrame:
    """The predictions that were really made, with the newest labels that count at `as_of`."""
    served = model.home.store.read_predictions(model.config.model, batch.window, role)
    if served.empty:
        return served
    labels = model.home.store.read(batch.labels, [ROW_ID, LABEL, KNOWN_AT])
    labels = labels[labels[KNOWN_AT] <= pd.Timestamp(as_of)]
    return served.merge(labels[[ROW_ID, LABEL]], on=ROW_ID, how="inner")


def prediction_in(config: ModelConfig, joined: pd.DataFrame, classes: Sequence[str] | None) -> np.ndarray:
    """What a frame of predictions says: (n,), or (n, k) for a multiclass task, in the order of `classes`.

    A class that the version did not know has probability 0.
    """
    if config.task is not Task.MULTICLASS:
        return joined["prediction"].to_numpy()
    said = joined.reindex(columns=[f"p_{c}" for c in classes or []]).to_numpy(dtype=np.float64)
    return np.where(np.isnan(said) & ~np.isnan(said).all(axis=1, keepdims=True), 0.0, said)


def classes_of(config: ModelConfig, joined: pd.DataFrame) -> list[str] | None:
    """The classes of a multiclass task that the predictions or their labels name, sorted."""
    if config.task is not Task.MULTICLASS:
        return None
    predicted = {c.removeprefix("p_") for c in joined.columns if c.startswith("p_")}
    return sorted(predicted | ({*joined[LABEL]} if LABEL in joined else set()))
