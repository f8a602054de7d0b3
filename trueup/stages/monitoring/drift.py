"""Compares the inputs of a batch with those that the champion was trained on."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from trueup.adapters.evidently import scores
from trueup.domain.features.features import schema_of
from trueup.domain.monitoring.drift import DriftResult, column_checks, judge_drift, movements, sample_places
from trueup.domain.monitoring.reference_rows import compared, reference_for
from trueup.domain.types import ROW_ID, Batch
from trueup.model import Champion, Model
from trueup.reporting.jobs import show_drift
from trueup.stages.features import features


def compare_inputs(model: Model, batch: Batch, current: Champion, as_of: datetime) -> DriftResult:
    """Compare samples of the batch's features and of the champion's training rows."""
    size, seed, period = model.config.monitor.drift.sample, model.config.train.seed, model.config.ingest.period
    rows = model.home.store.read_evaluation(current.baseline_path)
    key = features(model, batch, as_of, current.features)
    count = len(model.home.store.read_features([key], columns=[ROW_ID]))
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
    show_drift(model, batch.window, (before[list(schema.names)], now[list(schema.names)]), schema, result)
    return result
