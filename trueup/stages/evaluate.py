"""Evaluate: every compared model predicts the gate rows, and the predictions are stored."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.adapters.mlflow.model_files import fresh_process
from trueup.adapters.onnx.runner import onnx_process
from trueup.config.schema import ModelConfig
from trueup.domain.judging.bootstrap import Blocks
from trueup.domain.judging.gates import CHALLENGER, CHAMPION
from trueup.domain.judging.metrics import SliceLoss, metrics, metrics_with_intervals, row_losses, slice_table
from trueup.domain.learning.learning import all_classes
from trueup.domain.monitoring.diagnosis import Skill, constant_losses, promised_gain, skill
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Metric, Window
from trueup.handoffs import Evaluation, Trained, columns_of, sample_name
from trueup.model import Champion, Model
from trueup.reporting.jobs import SAMPLE_ROWS
from trueup.stages.ablation import ablation
from trueup.stages.baselines import REFERENCE, baselines, predict_beside
from trueup.stages.behaviour import behaviour
from trueup.stages.clean_process import budget
from trueup.stages.features import Examples, examples, own_rows, reference_examples
from trueup.stages.walk import weigh


def evaluate(model: Model, trained: Trained, as_of: datetime) -> Evaluation:
    """Predict the gate rows with every model that the challenger is compared with, and measure each.

    Besides the champion these are a prior, a simple model (linear, on the declared columns alone, without history or
    custom features), and the cheap reference that monitoring will compare with (linear, on all features). They are
    fitted on what was known when the gate window began, like the challenger.
    """
    fresh_process()  # needed soon; it imports meanwhile
    if model.config.export is not None:
        onnx_process()
    gate = examples(model, trained.gate, as_of)
    before = reference_examples(model, trained.gate.start, as_of)
    models: dict[str, Pipeline] = {CHALLENGER: model.home.registry.load(trained.uri, trained.manifest_digest)}
    current = model.champion()
    lacking = _lacking(model, current, trained.gate, as_of)
    compared = None if lacking else current
    if compared is not None:
        models[CHAMPION] = compared.load(model.home)
    models |= baselines(model, before)
    classes = all_classes(model.config.task, models.values(), gate.y)
    # A champion predicts from its own features, as it does when it serves.
    theirs = None if compared is None else own_rows(model, compared, gate, trained.gate, as_of)
    predictions = predict_beside(model, models, gate, theirs, classes)
    weighed, substitute = weigh(model, trained, gate, before, predictions, classes, compared, as_of)
    if substitute is not None:
        trained = substitute
        models[CHALLENGER], predictions[CHALLENGER] = models[weighed.contender], predictions[weighed.contender]
    frame = _gate_frame(model, gate, predictions, classes, trained.gate, as_of)
    by_role, intervals = _metrics(model.config, gate, predictions, classes)
    figures = {f"{role}_{name}": value for role, m in by_role.items() for name, value in m.items()}
    model.home.tracking.log(trained.run_id, metrics=figures)
    X, drawn = gate.sample(SAMPLE_ROWS, model.config.train.seed)
    ours = columns_of(CHALLENGER, predictions[CHALLENGER][drawn], classes)
    sample_rows = X.assign(**{LABEL: gate.y.iloc[drawn].to_numpy()}, **ours)
    used = [b for b in model.usable_batches(as_of) if b.window.overlaps(trained.gate)]
    worth = ablation(model, trained, gate, predictions[CHALLENGER], classes, as_of)
    model.home.tracking.log(
        trained.run_id, metrics={f"ablation_{w.group}": w.difference for w in worth if w.difference is not None}
    )
    return Evaluation(
        path=model.home.store.put_evaluation(trained.run_id, frame),
        sample_path=model.home.store.put_evaluation(sample_name(trained.run_id), sample_rows),
        schema=gate.schema,
        rows=len(gate.y),
        reference_rows=len(before.y),
        predicted=list(predictions),
        classes=classes,
        slices=_slices(model.config, frame, predictions, classes),
        champion_epoch=current.epoch if current else 0,
        behaviour=behaviour(model, models[CHALLENGER], gate, used, classes),
        budget=budget(model, trained, gate),
        ablation=worth,
        without_champion=lacking,
        weighed=weighed,
        stand_in=substitute,
        metrics=by_role,
        intervals=intervals,
        skill=_skill(model.config, gate, before, predictions, classes),
    )


def _lacking(model: Model, current: Champion | None, gate: Window, as_of: datetime) -> str:
    """The reason why the champion cannot predict the gate rows, such as missing columns; empty if it can."""
    if current is None:
        return ""
    used = [b for b in model.usable_batches(as_of) if b.window.overlaps(gate)]
    columns = sorted({column for batch in used for column in current.lacks(model.home, batch)})
    if not columns:
        return ""
    return f"the champion, version {current.version}, cannot predict the gate rows: they lack {', '.join(columns)}"


def _metrics(
    config: ModelConfig, gate: Examples, predictions: dict[str, np.ndarray], classes: list[str] | None
) -> tuple[dict[str, dict[str, float]], tuple[Metric, ...]]:
    """Metrics by role, and the challenger's with intervals; empty if they cannot be measured."""
    e, y = config.evaluate, gate.y.to_numpy()
    bounds = (e.block, e.resamples, e.confidence, config.train.seed)
    by_role, intervals = dict[str, dict[str, float]](), tuple[Metric, ...]()
    with suppress(ValueError):  # such as labels of one class; the gates report the reason
        by_role = {role: metrics(config.task, y, p, classes) for role, p in predictions.items()}
        ours, times = predictions[CHALLENGER], gate.event_time
        intervals = tuple(metrics_with_intervals(config.task, y, ours, times, *bounds, classes=classes))
    return by_role, intervals


def _skill(
    config: ModelConfig,
    gate: Examples,
    before: Examples,
    predictions: dict[str, np.ndarray],
    classes: list[str] | None,
) -> Skill | None:
    e, y = config.evaluate, gate.y.to_numpy()
    losses = {role: row_losses(config.task, y, predictions[role], classes) for role in (CHALLENGER, REFERENCE)}
    promised = promised_gain(config.task, predictions[CHALLENGER], predictions[REFERENCE])
    constant = constant_losses(config.task, y, before.y)
    return skill(
        losses[CHALLENGER],
        losses[REFERENCE],
        gate.event_time,
        e.block,
        e.confidence,
        promised=promised,
        constant=constant,
    )


def _slices(
    config: ModelConfig, frame: pd.DataFrame, predictions: dict[str, np.ndarray], classes: list[str] | None
) -> list[SliceLoss]:
    """Each model's loss in the declared slices of the gate rows."""
    y, e = frame[LABEL].to_numpy(), config.evaluate
    ours, theirs = (
        row_losses(config.task, y, predictions[role], classes) if role in predictions else None
        for role in (CHALLENGER, CHAMPION)
    )
    assert ours is not None  # the challenger always predicts
    blocks = Blocks.of(frame[EVENT_TIME], e.block)
    return slice_table(frame[e.slices], blocks, ours, theirs, e)


def _gate_frame(
    model: Model,
    gate: Examples,
    predictions: dict[str, np.ndarray],
    classes: list[str] | None,
    window: Window,
    as_of: datetime,
) -> pd.DataFrame:
    """One row per gate row: time, label, predictions, and the declared slices and groups."""
    columns: dict[str, object] = {ROW_ID: gate.row_id, EVENT_TIME: gate.event_time, LABEL: gate.y}
    for role, p in predictions.items():
        columns |= columns_of(role, p, classes)
    frame = pd.DataFrame(columns)
    if by := list(dict.fromkeys([*model.config.evaluate.slices, *model.config.group_columns])):
        refs = [b.rows for b in model.usable_batches(as_of) if b.window.overlaps(window)]
        frame = frame.merge(model.home.store.read(refs, [ROW_ID, *by]), on=ROW_ID, how="left")
    return frame
