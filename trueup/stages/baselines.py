"""Fit the baselines that a model is compared with."""

from __future__ import annotations

from collections.abc import Mapping

from sklearn.pipeline import Pipeline

from trueup.config.schema import ModelConfig
from trueup.domain.features.chunks import Rows
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.bootstrap import Floats
from trueup.domain.judging.gates.context import CHAMPION, PRIOR, SIMPLE
from trueup.domain.learning.learning import SIMPLE_ROWS, predict, predict_each, prior_model, simple_model
from trueup.model import Model
from trueup.stages.features import Examples

REFERENCE = "reference"


def baselines(model: Model, before: Examples) -> dict[str, Pipeline]:
    """Fit the prior, the simple model and the cheap reference on what was known before the gate window."""
    return {**to_beat(model, before), REFERENCE: _linear(model, before, before.schema)}


def to_beat(model: Model, before: Examples) -> dict[str, Pipeline]:
    """Fit the prior and the simple model on what was known before the rows to predict."""
    return {
        PRIOR: model.home.fits.fit(prior_model(model.config.task), before.inputs, before.y),
        SIMPLE: _linear(model, before, declared(model.config, before.schema)),
    }


def predict_beside(
    model: Model, models: Mapping[str, Pipeline], rows: Examples, theirs: Rows | None, classes: list[str] | None
) -> dict[str, Floats]:
    """Predict rows with every model, by role; the champion predicts `theirs`, the same rows with its own features."""
    task, apart = model.config.task, theirs is not None and theirs is not rows.inputs
    together = {role: fitted for role, fitted in models.items() if not (apart and role == CHAMPION)}
    predictions = predict_each(together, rows.inputs, task, classes)
    if theirs is not None and apart:
        predictions[CHAMPION] = predict(models[CHAMPION], theirs, task, classes)
    return {role: predictions[role] for role in models}


def _linear(model: Model, before: Examples, schema: FeatureSchema) -> Pipeline:
    seed = model.config.train.seed
    return model.home.fits.fit(
        simple_model(schema, model.config.task, seed), before.inputs, before.y, SIMPLE_ROWS, seed
    )


def declared(config: ModelConfig, schema: FeatureSchema) -> FeatureSchema:
    """The features that are columns or parts of columns; all features without any."""
    f = config.features
    plain = {
        *f.numeric,
        *f.categorical,
        *(f"{column}_{part}" for column, parts in f.calendar.items() for part in parts),
    }
    numeric = tuple(n for n in schema.numeric if n in plain)
    return FeatureSchema(numeric, schema.categorical) if numeric or schema.categorical else schema
