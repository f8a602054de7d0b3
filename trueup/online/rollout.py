"""The check of a rollout: reads what servers counted and the matured labels, and advances, rolls back or waits.

It runs at the start of each turn of the loop, and as a child of the servers while a rollout is under way, so that a
rollback does not wait for the next batch.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.judging.rollout import GROWTH, Compared, Judged, LossLook, Traffic, judge, loss_level
from trueup.domain.types import KNOWN_AT, LABEL, ROW_ID, Batch, Status, Verdict
from trueup.errors import AlreadyDecided, StaleDecision, UntrustedModel, WorkError
from trueup.governance import rollout
from trueup.governance.approval import standing
from trueup.governance.probation import compare, side_by_side
from trueup.governance.rollouts import UnderWay, under_way
from trueup.handoffs import prediction_of
from trueup.ledger.entries import Entry
from trueup.model import Champion, Model
from trueup.serving import published, state
from trueup.serving.rollout.figures import BUSY, Figures, Step, read_figures

STAGE = "rollout"  # of the looks at the loss, among the results of stages


@dataclass(frozen=True)
class RolloutStatus:
    """A rollout under way, with its figures and what the rule says about them."""

    model: str
    version: int
    champion: int
    sequence: int  # of the ledger entry with which it began
    phase: str
    step: int
    steps: int
    share: float
    paused: bool
    since: datetime  # wall clock, UTC
    deadline: datetime
    action: str  # wait, advance or roll back
    reasons: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    traffic: tuple[Traffic, ...]  # of each step up to now
    labels: int  # matured rows that both versions predicted


@dataclass(frozen=True)
class Checked:
    """The result of a check: what was decided, if anything, and why."""

    model: str
    version: int
    decided: str | None  # kind of the ledger entry
    sequence: int | None
    reasons: tuple[str, ...]


def check(model: Model, as_of: datetime | None = None) -> Checked | None:
    """Decide about the rollout under way: advance it, roll it back, end it at its deadline, or wait. None without one.

    A rollout is rolled back also while it is paused, and when the challenger's files are not those that were judged. Two checks at once make one decision. `as_of` is the moment up to
    which labels count; default: the newest moment of the model's clock.
    """
    rollout.settle(model)
    if (current := under_way(model)) is None:
        return None
    _look_at_loss(model, current, as_of or standing(model))
    judged = _judged(model, current, as_of or standing(model))[0]
    entry = None
    with suppress(AlreadyDecided, StaleDecision):  # another process was faster, and the ledger has its decision
        entry = _decide(model, current, judged)
    if entry is None:
        return Checked(model.config.model, current.fitted.version, None, None, judged.reasons)
    return Checked(model.config.model, current.fitted.version, entry.kind, entry.seq, tuple(entry.body.reasons))


def status(model: Model) -> RolloutStatus | None:
    """The rollout under way; None without one. Writes nothing."""
    if (current := under_way(model)) is None:
        return None
    judged, traffic, labels = _judged(model, current, standing(model))
    champion = model.home.ledger.champion(model.config.model, current.state.expected_epoch)
    return RolloutStatus(
        model=model.config.model,
        version=current.fitted.version,
        champion=champion.version if champion else 0,
        sequence=current.start.seq,
        phase="canary" if current.step else "shadow",
        step=current.step,
        steps=len(current.config.canary),
        share=current.share,
        paused=current.state.paused,
        since=current.start.recorded_at,
        deadline=current.deadline,
        action=judged.action,
        reasons=judged.reasons,
        verdicts=judged.verdicts,
        traffic=tuple(traffic),
        labels=labels,
    )


def published_rollout(model: Model, current: UnderWay, champion: Champion) -> state.Rollout:
    """The rollout as servers read it. The scale on which they compare predictions is that of the champion's sample."""
    low, high, spread = _scale(model, champion)
    limits = {**current.config.limits.model_dump(), "timeout_ms": current.config.timeout_ms}
    return state.Rollout(
        id=current.start.decision_id,
        seq=current.newest.seq,
        phase="canary" if current.step else "shadow",
        step=current.step,
        share=current.share,
        sample=current.config.shadow.sample,
        salt=f"{model.config.model}:{current.state.expected_epoch + 1}:{current.start.seq}",
        paused=current.state.paused,
        limits={**limits, "range": [low, high], "scale": spread},
    )


def traffic_of(figures: Figures, step: int, unit: float) -> Traffic:
    """The counts of one step, over all processes and both kinds of rows; `unit` is that of `_scale`."""
    both = figures.total(lambda s: s.step == step)
    # A full queue before the challenger says that the server has too much to do; a slow challenger shows in its times.
    busy = min(both.challenger.errors.get(BUSY, 0), both.paired.failed_alone)
    canary = figures.total(lambda s: s.step == step and s.rows_of == "canary")
    return Traffic(
        rows=both.challenger.rows,
        answered=canary.challenger.rows,
        requests=both.paired.calls - busy,
        failures=both.paired.failed_alone - busy,
        non_finite=both.paired.non_finite_alone,
        timed=both.paired.timed,
        slower=both.paired.slower,
        outputs=_compared(both, unit),
    )


def _compared(step: Step, unit: float) -> tuple[Compared, ...]:
    pairs = zip(step.paired.differences, step.champion.outputs, strict=False)
    return tuple(Compared(d.n, unit * d.sum, unit**2 * d.sum_sq, o.n, o.sum, o.sum_sq, unit) for d, o in pairs)


def _decide(model: Model, current: UnderWay, judged: Judged) -> Entry | None:
    if judged.action == "roll back":
        return rollout.take_back(model, current, judged)
    ready, last = judged.action == "advance" and not current.state.paused, current.step == len(current.config.canary)
    late = model.home.now() >= current.deadline
    if ready and (last or not late):
        try:
            return rollout.advance(model, current, judged)
        except UntrustedModel as error:  # it is as untrusted at the next look, and the champion's batches must not wait
            return rollout.take_back(model, current, replace(judged, reasons=(str(error),)))
    return rollout.give_up(model, current, judged) if late else None


def _judged(model: Model, current: UnderWay, as_of: datetime) -> tuple[Judged, list[Traffic], int]:
    """What the rule says, the counts of each step, and the number of matured rows that both versions predicted."""
    figures = read_figures(_folder(model), current.start.decision_id)
    unit = _scale(model, _champion(model, current))[2]
    traffic = [traffic_of(figures, step, unit) for step in range(current.step + 1)]
    traffic[-1] += Traffic(stopped=figures.tripped)
    labels = len(_paired(model, current, as_of))
    loss = next((look.verdict for look in reversed(_looks(model, current))), None)
    judged = judge(current.config, traffic, loss, labels)
    if figures.unreadable and judged.action == "advance":
        missing = f"the counts of a server process cannot be read: {', '.join(figures.unreadable)}"
        judged = replace(judged, action="wait", reasons=(missing,))
    return judged, traffic, labels


def _folder(model: Model) -> Path:
    return published.folder_of(model.home.root, model.config.model)


def _champion(model: Model, current: UnderWay) -> Champion:
    """The champion beside which the challenger is tried."""
    served = next((c for c in model.succession() if c.epoch == current.state.expected_epoch), None)
    assert served is not None
    return served


def _scale(model: Model, champion: Champion) -> tuple[float, float, float]:
    """The bounds of predictions, and the standard deviation of the champion's predictions for its gate rows.

    Probabilities are between 0 and 1. Without the gate rows' file, or with equal predictions, the deviation is 1.
    """
    record = model.home.ledger.champion(model.config.model, champion.epoch)
    assert record is not None
    evaluation = record.entry.challenge.evaluation
    with suppress(WorkError, KeyError):
        frame = model.home.store.read_evaluation(evaluation.path)
        predicted = np.asarray(prediction_of(frame, "challenger", evaluation.classes), dtype=np.float64)
        low, high, spread = float(predicted.min()), float(predicted.max()), float(predicted.std(axis=0).max())
        if np.isfinite([low, high, spread]).all() and spread > 0:
            return (low, high, spread) if model.config.task is Task.REGRESSION else (0.0, 1.0, spread)
    return 0.0, 1.0, 1.0


# Losses on matured labels


def _looks(model: Model, current: UnderWay) -> list[LossLook]:
    """The looks at the loss so far, in order."""
    recorded = model.home.store.results(model.config.model, STAGE, LossLook)
    looks = [r.body for r in recorded if r.basis.startswith(f"{current.start.seq}:")]
    return sorted(looks, key=lambda look: look.look)


def _look_at_loss(model: Model, current: UnderWay, as_of: datetime) -> None:
    """Compare the losses once more if there are enough new labels; a conclusive look is recorded, and counts."""
    looks = _looks(model, current)
    if looks and looks[-1].status is Status.FAIL:  # it was killed before it was acted upon
        return
    joined = _paired(model, current, as_of)
    seen = looks[-1].rows if looks else 0
    if len(joined) < max(model.config.monitor.min_matured, GROWTH * seen):
        return
    number = len(looks) + 1
    verdict = compare(model.config, joined, alpha=loss_level(current.config.limits.loss_alpha, number))
    if verdict.status is Status.INCONCLUSIVE:
        return
    look = LossLook(number, len(joined), verdict.status, verdict.reasons, verdict.figures)
    newest = model.batches(as_of)[-1]
    basis = f"{current.start.seq}:{number}"
    model.home.store.record(model.config.model, STAGE, newest.window, newest.landed, as_of, look, basis)


def _paired(model: Model, current: UnderWay, as_of: datetime) -> pd.DataFrame:
    """The rows that both versions predicted, online or with their batch, with the labels known at `as_of`."""
    ours, theirs = current.fitted, _champion(model, current)
    batches = [b for b in model.batches(as_of) if b.window.end > current.start.as_of]
    parts = [_pairs_of(model, batch, (ours.version, theirs.version), as_of) for batch in batches]
    parts = [part for part in parts if len(part)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _pairs_of(model: Model, batch: Batch, versions: tuple[int, int], as_of: datetime) -> pd.DataFrame:
    new, old = (_predicted_by(model, batch, version) for version in versions)
    if new.empty or old.empty:
        return pd.DataFrame()
    labels = model.home.store.read(batch.labels, [ROW_ID, LABEL, KNOWN_AT])
    labels = labels.loc[labels[KNOWN_AT] <= pd.Timestamp(as_of), [ROW_ID, LABEL]]
    return side_by_side(new.merge(labels, on=ROW_ID), old)


def _predicted_by(model: Model, batch: Batch, version: int) -> pd.DataFrame:
    """A version's predictions for a batch: those that were served, and those in shadow."""
    served, shadow = (
        model.home.store.read_predictions(model.config.model, batch.window, role)
        for role in ("champion", f"shadow:{version}")
    )
    parts = [shadow] if served.empty else [served[served["model_version"] == version], shadow]
    return pd.concat([part for part in parts if len(part)] or [shadow], ignore_index=True).drop_duplicates(ROW_ID)
