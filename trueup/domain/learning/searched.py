"""The rows of a search and its folds: what the loss of a recipe on a fold depends on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

import pandas as pd
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from trueup.config.tasks import Task
from trueup.domain.features.chunks import Rows, frame_of
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import Floats, at_most, build, class_names, predict, recency
from trueup.domain.learning.recipe import Recipe
from trueup.domain.learning.splits import Indices

KEPT = 1_000_000  # rows of a search that are kept in memory; more are read again for every fit


class Fit(Protocol):
    """Fits a pipeline, see `learning.fit`."""

    def __call__(
        self, model: Pipeline, X: Rows, y: ArrayLike, at_most: int | None, seed: int, weights: Floats | None, /
    ) -> Pipeline: ...


@dataclass(frozen=True)
class Searched:
    """Labelled rows (n) and their time-ordered folds."""

    rows: Rows
    y: pd.Series[Any]
    event_time: pd.Series[Any]
    schema: FeatureSchema
    folds: tuple[tuple[Indices, Indices], ...]
    task: Task
    half_life: timedelta | None

    @cached_property
    def X(self) -> pd.DataFrame:
        """The features as one frame, which is kept."""
        return frame_of(self.rows)

    def loss(self, fit: Fit, recipe: Recipe, fold: int) -> float:
        """The mean loss of a recipe on the rows that follow a fold's training rows.

        Raises TrainingFailed if it cannot be fitted.
        """
        before, after = self.folds[fold]
        rows = self.X if len(self.y) <= KEPT else self.rows
        inputs, later = (rows.iloc[of] if isinstance(rows, pd.DataFrame) else rows.at(of) for of in (before, after))
        weights = recency(self.event_time.iloc[before], self.half_life)
        pipeline = build(recipe, self.schema, self.task)
        fitted = fit(pipeline, inputs, self.y.iloc[before], at_most(recipe), recipe.seed, weights)
        prediction = predict(fitted, later, self.task)
        losses = row_losses(self.task, self.y.iloc[after], prediction, class_names(self.task, fitted))
        return float(losses.mean())
