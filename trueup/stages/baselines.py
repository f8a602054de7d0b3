"""Fits the baselines that a model is compared with, and reads rows with the features of an older champion."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.data.types import Window
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.gates.context import PRIOR, SIMPLE
from trueup.domain.learning.learning import SIMPLE_ROWS, prior_model, simple_model
from trueup.domain.learning.training_windows import reference_window
from trueup.model import Champion, Model
from trueup.stages.features import Examples, examples, require_classes

REFERENCE = "reference"


def baselines(model: Model, before: Examples) -> dict[str, Pipeline]:
    """Fit the prior, the simple model and the cheap reference on what was known before the gate window."""
    return {**to_beat(model, before), REFERENCE: _linear(model, before, before.schema)}


def to_beat(model: Model, before: Examples) -> dict[str, Pipeline]:
    """Fit the prior and the simple model on what was known before the rows to predict."""
    return {
        PRIOR: model.home.fits.fit(prior_model(model.config.task), before.X, before.y),
        SIMPLE: _linear(model, before, declared(model.config, before.schema)),
    }


def _linear(model: Model, before: Examples, schema: FeatureSchema) -> Pipeline:
    seed = model.config.train.seed
    return model.home.fits.fit(simple_model(schema, model.config.task, seed), before.X, before.y, SIMPLE_ROWS, seed)


def declared(config: ModelConfig, schema: FeatureSchema) -> FeatureSchema:
    """The features that are columns or parts of columns; all features if there are none."""
    f = config.features
    plain = {
        *f.numeric,
        *f.categorical,
        *(f"{column}_{part}" for column, parts in f.calendar.items() for part in parts),
    }
    numeric = tuple(n for n in schema.numeric if n in plain)
    return FeatureSchema(numeric, schema.categorical) if numeric or schema.categorical else schema


def reference_examples(model: Model, start: datetime, as_of: datetime, of: FeaturesConfig | None = None) -> Examples:
    """Read the training rows of the cheap reference: the window before `start`, with the labels known by then.

    Raises NotEnoughData without such labels, or with labels of one class only.
    """
    window = reference_window(start, model.config.monitor.decay)
    before = examples(model, window, as_of, known_by=start, of=of)
    require_classes(model.config, before, window)
    return before


def own_rows(model: Model, current: Champion, rows: Examples, window: Window, as_of: datetime) -> pd.DataFrame:
    """The rows of a window, in the order of `rows`, with the features that the champion was trained on."""
    if current.features == model.config.features:
        return rows.X
    own = examples(model, window, as_of, of=current.features)
    return own.X.set_axis(own.row_id, axis=0).loc[rows.row_id]
