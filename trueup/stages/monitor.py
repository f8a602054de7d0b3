"""Monitor: join what was predicted with what came, look at the inputs, and diagnose the champion."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from trueup.adapters.drift import scores
from trueup.config.schema import ModelConfig, Task
from trueup.domain.diagnosis import Observation, Skill, constant_losses, diagnose, promised_gain, skill
from trueup.domain.drift import DriftResult, column_checks, judge_drift, prediction_and_label_shift, sample
from trueup.domain.features import schema_of
from trueup.domain.learning import SIMPLE_ROWS, fit, predict, simple_model
from trueup.domain.metrics import metrics, metrics_with_intervals, row_losses
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Batch, Verdict
from trueup.errors import NoData
from trueup.stages.champion import Champion, champion
from trueup.stages.evaluate import reference_examples
from trueup.stages.features import features
from trueup.stages.ports import Ports
from trueup.stages.references import Checked, Observed, prediction_of
from trueup.stages.report import show_drift

STAGE = "monitor"


def monitor(config: ModelConfig, ports: Ports, checked: Checked, as_of: datetime) -> Observed:
    """Diagnose the champion on a batch with the labels known at `as_of`; asked again, give the recorded answer."""
    batch = checked.batch
    for known in ports.store.results(config.model, STAGE, batch.window):
        if known.revision == batch.rows.revision and known.as_of == as_of:
            return _observed(batch, known.body)
    body = ports.store.record(
        config.model, STAGE, batch.window, batch.rows.revision, as_of, _watch(config, ports, checked, as_of)
    )
    return _observed(batch, body)


def realised(
    config: ModelConfig, ports: Ports, batch: Batch, as_of: datetime, role: str = "champion"
) -> dict[str, float] | None:
    """Metrics of the predictions that were made for a batch, on the labels known at `as_of`; None without both."""
    joined = joined_predictions(config, ports, batch, as_of, role)
    if joined.empty:
        return None
    try:
        return metrics(config.task, joined[LABEL].to_numpy(), _prediction(config, joined), _classes(config, joined))
    except ValueError:  # labels of one class, say
        return None


def _watch(config: ModelConfig, ports: Ports, checked: Checked, as_of: datetime) -> dict[str, Any]:
    """Everything that is found out about a batch, and the diagnosis that follows, as plain values."""
    current, batch = champion(config, ports), checked.batch
    joined, drift, measured = pd.DataFrame(), None, None
    if current is not None and checked.usable:
        drift = _drift(config, ports, batch, current, as_of)
        joined = joined_predictions(config, ports, batch, as_of)
        joined = joined[joined["model_version"] == current.version] if len(joined) else joined
        measured = _skill(config, ports, batch, joined, as_of)
    seen = Observation(
        as_of=as_of,
        validation=Verdict("validation", checked.status, checked.reasons),
        rows=batch.rows.rows,
        matured=len(joined),
        classes=None if config.task is Task.REGRESSION or joined.empty else joined[LABEL].nunique(),
        trained_until=current.trained_until if current else None,
        gate=current.gate_skill if current else None,
        skill=measured,
        drift=drift,
    )
    diagnosis = diagnose(seen, _earlier(config, ports, batch, current), config.monitor)
    age = None if current is None else round((as_of - current.trained_until) / timedelta(days=1), 1)
    return {
        "diagnosis": diagnosis.name,
        "findings": [f.name for f in diagnosis.findings],
        "reasons": diagnosis.reasons,
        "champion": current.version if current else None,
        "champion_age_days": age,
        "matured": len(joined),
        "metrics": _metrics(config, joined),
        "skill": measured.to_dict() if measured else None,
        "drift": drift.to_dict() if drift else None,
        "shift": _shift(config, ports, joined, current),
    }


def _earlier(config: ModelConfig, ports: Ports, batch: Batch, current: Champion | None) -> list[Skill]:
    """Skills of the earlier batches that the same champion served, oldest first, the newest look at each."""
    found = {
        r.window: r.body["skill"]
        for r in ports.store.results(config.model, STAGE)
        if current is not None and r.body["champion"] == current.version and r.window.end <= batch.window.start
    }
    return [Skill.from_dict(body) for body in found.values() if body is not None]


def _skill(config: ModelConfig, ports: Ports, batch: Batch, joined: pd.DataFrame, as_of: datetime) -> Skill | None:
    """The champion's paired skill on a batch, over a cheap reference that knew what was known when the batch began."""
    if len(joined) < config.monitor.min_matured or (config.task is not Task.REGRESSION and joined[LABEL].nunique() < 2):
        return None
    try:
        before = reference_examples(config, ports, batch.window.start, as_of)
    except NoData:
        return None
    seed = config.train.seed
    reference = fit(simple_model(before.schema, config.task, seed), before.X, before.y, SIMPLE_ROWS, seed)
    frame = ports.store.read_features([features(config, ports, batch, as_of)])
    rows = frame.set_index(ROW_ID).loc[joined[ROW_ID]]
    y, classes, said = joined[LABEL].to_numpy(), _classes(config, joined), _prediction(config, joined)
    cheap = predict(reference, rows, config.task, classes)
    ours, theirs = row_losses(config.task, y, said, classes), row_losses(config.task, y, cheap, classes)
    e, promised = config.evaluate, promised_gain(config.task, said, cheap)
    # Labels with a moment of their own may come in by their value, the bad news first. As long as most are missing, their
    # shares are no measure of chance.
    told = config.ingest.label.known_at is None or 2 * len(joined) >= batch.rows.rows
    bounds = (e.block, e.resamples, e.confidence, seed)
    constant = constant_losses(config.task, y) if told else None
    return skill(ours, theirs, joined[EVENT_TIME], *bounds, promised=promised, constant=constant)


def _metrics(config: ModelConfig, joined: pd.DataFrame) -> list[dict[str, Any]]:
    """Realised performance with intervals; nothing where it cannot be measured."""
    if joined.empty:
        return []
    e, y, classes = config.evaluate, joined[LABEL].to_numpy(), _classes(config, joined)
    bounds = (e.block, e.resamples, e.confidence, config.train.seed)
    try:
        found = metrics_with_intervals(
            config.task, y, _prediction(config, joined), joined[EVENT_TIME], *bounds, classes=classes
        )
    except ValueError:
        return []
    return [asdict(m) for m in found]


def _shift(config: ModelConfig, ports: Ports, joined: pd.DataFrame, current: Champion | None) -> list[dict[str, Any]]:
    """How far predictions and labels moved since the gate; informing only."""
    if joined.empty or current is None:
        return []
    gate, classes = ports.store.read_evaluation(current.evaluation_path), _classes(config, joined)
    then = prediction_of(gate, "challenger", classes)
    if classes is not None:
        then = np.asarray(classes)[then.argmax(axis=1)]
    moved = prediction_and_label_shift(
        config.task, (then, joined["prediction"]), (gate[LABEL].to_numpy(), joined[LABEL].to_numpy())
    )
    return [asdict(m) for m in moved]


def _observed(batch: Batch, body: dict[str, Any]) -> Observed:
    findings = body.get("findings", [body["diagnosis"]])  # which the first homes did not keep
    return Observed(batch.window, body["diagnosis"], tuple(body["reasons"]), body, tuple(findings))


def joined_predictions(
    config: ModelConfig, ports: Ports, batch: Batch, as_of: datetime, role: str = "champion"
) -> pd.DataFrame:
    """The predictions that were really made, with the newest labels that count at `as_of`.

    Rows that went into quarantine after they were predicted are left out.
    """
    served = ports.store.read_predictions(config.model, batch.window, role)
    if served.empty:
        return served
    labels = ports.store.read(batch.labels, [ROW_ID, LABEL, KNOWN_AT])
    labels = labels[(labels[KNOWN_AT] <= pd.Timestamp(as_of)) & ~labels[ROW_ID].isin(ports.store.held(batch.rows))]
    return served.merge(labels[[ROW_ID, LABEL]], on=ROW_ID, how="inner")


def _prediction(config: ModelConfig, joined: pd.DataFrame) -> np.ndarray:
    if config.task is Task.MULTICLASS:
        return joined[[f"p_{c}" for c in _classes(config, joined) or []]].to_numpy()
    return joined["prediction"].to_numpy()


def _classes(config: ModelConfig, joined: pd.DataFrame) -> list[str] | None:
    if config.task is not Task.MULTICLASS:
        return None
    return [c.removeprefix("p_") for c in joined.columns if c.startswith("p_")]


def _drift(config: ModelConfig, ports: Ports, batch: Batch, current: Champion, as_of: datetime) -> DriftResult:
    """Compare samples of the batch's features and of the champion's training rows."""
    size, seed = config.monitor.drift.sample, config.train.seed
    before = ports.store.read_evaluation(current.baseline_path)
    frame = ports.store.read_features([features(config, ports, batch, as_of)])
    schema, now = schema_of(frame, config.features), sample(frame, size, seed)
    checks = column_checks(before, now, schema, config.monitor.drift)
    result = judge_drift(scores(before, now, schema), checks, len(before), len(now), config.monitor.drift)
    show_drift(config, ports, batch.window, (before[list(schema.names)], now[list(schema.names)]), schema, result)
    return result
