"""Monitor: joins predictions with labels, compares the inputs, and diagnoses the champion."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import MIN_BLOCKS, Blocks
from trueup.domain.judging.metrics import metrics, metrics_with_intervals, row_losses
from trueup.domain.judging.predictions import classes_of, prediction_in
from trueup.domain.learning.learning import SIMPLE_ROWS, all_classes, predict, simple_model
from trueup.domain.monitoring.diagnosis import (
    Observation,
    Skill,
    constant_losses,
    diagnose,
    missing_labels,
    promised_gain,
    skill,
)
from trueup.domain.monitoring.drift import prediction_and_label_shift
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import EVENT_TIME, LABEL, ROW_ID, Batch, Metric, Verdict
from trueup.errors import NoData
from trueup.governance.probation import enforce, examine
from trueup.handoffs import Checked, Observed
from trueup.model import MONITOR, Champion, Model
from trueup.stages.features import features, features_of, reference_examples
from trueup.stages.monitoring.drift import compare_inputs
from trueup.stages.monitoring.estimate import Estimated, estimated
from trueup.stages.monitoring.skew import served_skew
from trueup.stages.monitoring.unusual import compare_with_usual


@dataclass(frozen=True)
class Aside:
    """Labelled predictions that do not judge the champion."""

    left_out: int = 0  # of rows that a correction has removed since
    of_others: int = 0  # made by an earlier champion


def monitor(model: Model, checked: Checked, as_of: datetime) -> Observed:
    """Diagnose the champion on a batch with the labels known at `as_of`. A repeated call returns the stored result.

    Corrected rows or labels make a new result. A champion on probation that lost to the old one is rolled back after
    the result is stored.
    """
    batch = checked.batch
    recorded = model.home.store.results(model.config.model, MONITOR, MonitoringResult, batch.window)
    same = (r.body for r in recorded if (r.revision, r.as_of, r.basis) == (batch.landed, as_of, checked.basis))
    if (result := next(same, None)) is None:
        watched = _watch(model, checked, as_of)
        about = (model.config.model, MONITOR, batch.window, batch.landed, as_of)
        result = model.home.store.record(*about, watched, checked.basis)
    enforce(model, result.probation)
    return Observed(batch.window, result.diagnosis, result.reasons, result, result.findings)


def to_watch_again(model: Model, batches: list[Batch], as_of: datetime) -> list[Batch]:
    """Batches that the champion's last result left unknown for lack of labels, and for which enough are known now."""
    current = model.champion()
    if current is None:
        return []
    looks = model.last_looks()
    waiting = [
        b for b in batches if (look := looks.get(b.window)) is not None and look.as_of < as_of and look.body.waits
    ]
    return [b for b in waiting if _enough(model.config, _judged(model, b, current, as_of)[0])]


def _enough(config: ModelConfig, joined: pd.DataFrame) -> bool:
    """Whether there are enough labels to judge decay."""
    if joined.empty:
        return False
    blocks = Blocks.of(joined[EVENT_TIME], config.evaluate.block).count
    return missing_labels(len(joined), _classes(config, joined), blocks, config.monitor) is None


def _classes(config: ModelConfig, joined: pd.DataFrame) -> int | None:
    """The number of classes among the labels; None for a regression, and without labels."""
    return None if config.task is Task.REGRESSION or joined.empty else joined[LABEL].nunique()


def realised(model: Model, batch: Batch, as_of: datetime, role: str = "champion") -> dict[str, float] | None:
    """Metrics of the predictions for a batch, on the labels known at `as_of`; None without both."""
    joined = model.scored_labels(batch, as_of, role)
    if joined.empty:
        return None
    classes = classes_of(model.config, joined)
    try:
        return metrics(
            model.config.task, joined[LABEL].to_numpy(), prediction_in(model.config, joined, classes), classes
        )
    except ValueError:  # such as labels of one class
        return None


def _watch(model: Model, checked: Checked, as_of: datetime) -> MonitoringResult:
    """All findings about a batch, and the diagnosis."""
    current, batch = model.champion(), checked.batch
    joined, aside, drift, measured, trial, skew = pd.DataFrame(), Aside(), None, None, None, None
    estimate = Estimated()
    unusual = compare_with_usual(model, batch, current, as_of) if checked.usable else None
    if current is not None and checked.usable and not current.lacks(model.home, batch):
        drift = compare_inputs(model, batch, current, as_of)
        joined, aside = _judged(model, batch, current, as_of)
        measured = _skill(model, batch, joined, as_of, current.features)
        trial = examine(model, batch, current, as_of)
        skew = served_skew(model, batch, current, as_of)
        estimate = estimated(model, batch, current, as_of, joined if _enough(model.config, joined) else None)
    seen = Observation(
        as_of=as_of,
        validation=Verdict("validation", checked.status, checked.reasons),
        rows=batch.rows.rows,
        matured=len(joined),
        classes=_classes(model.config, joined),
        trained_until=current.trained_until if current else None,
        gate=current.gate_skill if current else None,
        skill=measured,
        drift=drift,
        of_others=aside.of_others,
        unusual=unusual.words if unusual else (),
        skew=skew,
        estimate=estimate.estimate,
    )
    diagnosis = diagnose(seen, _earlier(model, batch, current), model.config.monitor)
    age = None if current is None else round((as_of - current.trained_until) / timedelta(days=1), 1)
    return MonitoringResult(
        diagnosis=diagnosis.name,
        findings=tuple(f.name for f in diagnosis.findings),
        reasons=(*diagnosis.reasons, *(f"noted: {words}" for words in (drift.noted if drift else ()))),
        awaits_labels=diagnosis.awaits_labels,
        champion=current.version if current else None,
        champion_age_days=age,
        landed=batch.landed,
        matured=len(joined),
        left_out=aside.left_out,
        of_others=aside.of_others,
        metrics=_metrics(model.config, joined),
        skill=measured,
        drift=drift,
        unusual=unusual.oddities if unusual else (),
        usual=unusual.bounds if unusual else None,
        probation=trial,
        shift=_shift(model, joined, current),
        skew=skew,
        estimate=estimate.estimate,
        not_estimated=estimate.reason,
    )


def _earlier(model: Model, batch: Batch, current: Champion | None) -> list[Skill]:
    """Skills of the earlier batches that the same champion served, oldest first, the newest result for each.

    Those from too few blocks of time do not count. A champion that a person put back is not judged by its earlier term.
    """
    again = current is not None and current.put_by != "promoted"
    skills = {
        r.window: r.body.skill
        for r in model.looks()
        if current is not None
        and r.body.champion == current.version
        and r.window.end <= batch.window.start
        and (not again or r.as_of > current.promoted_as_of)
    }
    return [s for s in skills.values() if s is not None and s.blocks >= MIN_BLOCKS]


def _skill(model: Model, batch: Batch, joined: pd.DataFrame, as_of: datetime, of: FeaturesConfig) -> Skill | None:
    """The champion's paired skill on a batch, over a cheap reference fitted on what was known when the batch began."""
    if len(joined) < model.config.monitor.min_matured or (
        model.config.task is not Task.REGRESSION and joined[LABEL].nunique() < 2
    ):
        return None
    try:
        before = reference_examples(model, batch.window.start, as_of, of)
    except NoData:
        return None
    seed = model.config.train.seed
    reference = model.home.fits.fit(
        simple_model(before.schema, model.config.task, seed), before.inputs, before.y, SIMPLE_ROWS, seed
    )
    rows, back = features_of(model, features(model, batch, as_of, of), joined[ROW_ID])
    y, classes = (
        joined[LABEL].to_numpy(),
        all_classes(model.config.task, [reference], classes_of(model.config, joined) or []),
    )
    predicted = prediction_in(model.config, joined, classes)
    reference_predicted = predict(reference, rows, model.config.task, classes)[back]
    ours, theirs = (
        row_losses(model.config.task, y, predicted, classes),
        row_losses(model.config.task, y, reference_predicted, classes),
    )
    e, promised = model.config.evaluate, promised_gain(model.config.task, predicted, reference_predicted)
    constant = constant_losses(model.config.task, y, before.y)
    return skill(ours, theirs, joined[EVENT_TIME], e.block, e.confidence, promised=promised, constant=constant)


def _judged(model: Model, batch: Batch, current: Champion, as_of: datetime) -> tuple[pd.DataFrame, Aside]:
    """The champion's own labelled predictions, and those that do not count."""
    joined = model.scored_labels(batch, as_of)
    if joined.empty:
        return joined, Aside()
    own = joined["model_version"] == current.version
    mine = joined[own]
    kept = mine[ROW_ID].isin(model.home.store.effective(batch.rows, [ROW_ID])[ROW_ID])
    return mine[kept], Aside(int((~kept).sum()), int((~own).sum()))


def _metrics(config: ModelConfig, joined: pd.DataFrame) -> tuple[Metric, ...]:
    """Realised performance with intervals; empty if it cannot be measured."""
    if joined.empty:
        return ()
    e, y, classes = config.evaluate, joined[LABEL].to_numpy(), classes_of(config, joined)
    bounds = (e.block, e.resamples, e.confidence, config.train.seed)
    try:
        return tuple(
            metrics_with_intervals(
                config.task, y, prediction_in(config, joined, classes), joined[EVENT_TIME], *bounds, classes=classes
            )
        )
    except ValueError:
        return ()


def _shift(model: Model, joined: pd.DataFrame, current: Champion | None) -> tuple[Metric, ...]:
    """How far predictions and labels moved since the gate; informs only."""
    if joined.empty or current is None:
        return ()
    if model.config.task is Task.MULTICLASS:
        gate = model.home.store.read_evaluation(current.evaluation_path)
        then = gate.filter(regex="^p_challenger_").idxmax(axis=1).str.removeprefix("p_challenger_")
    else:
        gate = model.home.store.read_evaluation(current.evaluation_path, [LABEL, "p_challenger"])
        then = gate["p_challenger"]
    moved = prediction_and_label_shift(
        model.config.task, (then, joined["prediction"]), (gate[LABEL].to_numpy(), joined[LABEL].to_numpy())
    )
    return tuple(moved)
