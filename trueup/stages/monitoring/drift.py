"""Compares the inputs of a batch with those that the champion was trained on."""

from __future__ import annotations

from dataclasses import replace
from datetime import MINYEAR, datetime
from functools import partial

import numpy as np
import pandas as pd

from trueup.adapters.evidently import scores
from trueup.config.tasks import Task
from trueup.domain.data.periods import year_before
from trueup.domain.features.features import FeatureSchema, schema_of
from trueup.domain.learning.learning import predict
from trueup.domain.monitoring.drift import (
    DriftResult,
    column_checks,
    judge_drift,
    movements,
    nearest_first,
    sample_places,
    with_effects,
    with_year_ago,
)
from trueup.domain.monitoring.effects import MOST_COLUMNS, PredictionChange, explain_change
from trueup.domain.monitoring.multivariate import separate
from trueup.domain.monitoring.reference_rows import Reference, compared, reference_for
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.errors import FilesUnavailable
from trueup.model import Champion, Model
from trueup.reporting.jobs import show_drift
from trueup.stages.features import features


def compare_inputs(model: Model, batch: Batch, current: Champion, as_of: datetime) -> DriftResult:
    """Compare samples of the batch's features and of the champion's training rows, and explain what the predictions do."""
    size, seed, period = model.config.monitor.drift.sample, model.config.train.seed, model.config.ingest.period
    rows = model.home.store.read_evaluation(current.baseline_path)
    key = features(model, batch, as_of, current.features)
    times = model.home.store.read_features([key], columns=[EVENT_TIME])[EVENT_TIME]
    count = len(times)
    whole = model.home.store.feature_rows([key], [np.arange(count)])
    schema = compared(schema_of(whole.columns, current.features), current.features, period)
    places = sample_places(count, size, seed)
    now, reference = (
        whole.frame() if places is None else whole.take(places),
        reference_for(rows, current.features, batch.window, period),
    )
    before, checks = reference.counted, column_checks(reference, now, schema, model.config.monitor.drift)
    result = judge_drift(
        scores(before, now, schema),
        checks,
        len(before),
        len(now),
        model.config.monitor.drift,
        movements(reference, schema),
        reference.phase,
    )
    if result.shifted is not None:
        used = schema_of(whole.columns, current.features).names
        result = with_effects(result, _effects(model, current, (reference, now), used, schema, result))
        moments = times if places is None else times.iloc[places]
        result = replace(result, multivariate=separate(reference, now, moments, schema, seed))
        result = _beside_year_ago(result, model, batch, current, as_of, now, schema)
    show_drift(model, batch.window, (before[list(schema.names)], now[list(schema.names)]), schema, result)
    return result


def _beside_year_ago(
    result: DriftResult,
    model: Model,
    batch: Batch,
    current: Champion,
    as_of: datetime,
    now: pd.DataFrame,
    schema: FeatureSchema,
) -> DriftResult:
    """Compare the drifted columns with the batch of the same season a year ago, if it has landed."""
    drifted = schema.without(tuple(c for c in schema.names if c not in result.drifted))
    if not drifted.names or batch.window.start.year < MINYEAR + 2:
        return result
    season = year_before(batch.window, model.config.ingest.period)
    landed = [b for b in model.usable_batches(as_of) if b.window == season]
    if not landed or current.lacks(model.home, landed[0]):
        return result
    key = features(model, landed[0], as_of, current.features)
    count = len(model.home.store.read_features([key], columns=[ROW_ID]))
    whole = model.home.store.feature_rows([key], [np.arange(count)])
    places = sample_places(count, model.config.monitor.drift.sample, model.config.train.seed)
    then = whole.frame() if places is None else whole.take(places)
    return with_year_ago(result, scores(then, now, drifted), season, len(then))


def _effects(
    model: Model,
    current: Champion,
    samples: tuple[Reference, pd.DataFrame],
    used: tuple[str, ...],
    schema: FeatureSchema,
    result: DriftResult,
) -> PredictionChange | str | None:
    """What the movement of the columns does to the champion's predictions, or why that is unknown.

    A champion that cannot be loaded or cannot predict does not fail the monitoring.
    """
    reference, now = samples
    config, names = model.config, [c for c in used if c in now and c in reference.rows]
    moved = set(nearest_first(result)[:MOST_COLUMNS])
    try:
        fitted = current.load(model.home)
        return explain_change(
            reference.complete[names],
            now[names],
            schema.without(tuple(c for c in schema.names if c not in moved)),
            partial(predict, fitted, task=config.task),
            result.drifted,
            classes=[str(c) for c in fitted.classes_] if config.task is Task.MULTICLASS else (),
            unit=config.ingest.label.unit,
            seed=config.train.seed,
        )
    except FilesUnavailable:
        raise
    except Exception as error:
        return f"{type(error).__name__}: {error}"
