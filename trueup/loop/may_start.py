"""Decides whether a retrain may start: one at a time, within limits. Each refusal is recorded in the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import uuid4

from trueup.domain.data.digest import config_digest, digest_of
from trueup.domain.data.periods import period_of
from trueup.domain.events import RetrainRefused, interval
from trueup.domain.learning.training_windows import Plan
from trueup.domain.retraining.limits import (
    AUTOMATIC,
    CLEARED,
    Refusal,
    Step,
    before_planning,
    before_training,
    rejections,
)
from trueup.domain.types import Reason
from trueup.errors import UsageError
from trueup.governance.approval import decided
from trueup.governance.decision_record import REQUEST, circumstances, trigger
from trueup.governance.rollouts import under_way
from trueup.handoffs import Attempt, Decided
from trueup.ledger.entries import Decision, Entry, Event
from trueup.ledger.record import Record, Trigger
from trueup.model import Model
from trueup.stages.monitoring.unusual import confirm
from trueup.stages.promote import batch_key

RUNNING = Refusal("running", "another retrain of this model is at work; ask again when it has ended")


def waits_for_rollout(model: Model) -> Refusal | None:
    """The refusal of any retrain, also one by a person, while a rollout is under way; None without one."""
    if (current := under_way(model)) is None:
        return None
    until = f"until {current.deadline:%Y-%m-%d %H:%M} UTC at the latest"
    return Refusal(
        "rollout",
        f"a rollout is under way ({current.words}), and a new challenger waits for its end, {until}; to end it now: "
        f"trueup rollout abort {model.config.model} --by NAME --why TEXT",
    )


def held_back(model: Model, reason: Reason, as_of: datetime) -> Refusal | None:
    """The refusal of a retrain that must not start, found before any data is read; None if it may start."""
    if reason not in AUTOMATIC:
        return None
    return before_planning(steps_of(model), as_of, model.config.retrain, _latest(model, as_of))


def held_back_with(model: Model, reason: Reason, chosen: Plan, attempt: str) -> Refusal | None:
    """The refusal of a planned retrain that must not start; None if it may start."""
    if reason not in AUTOMATIC:
        return None
    steps = steps_of(model)
    return before_training(steps, chosen.gate.end, attempt, model.config.promote.gate_window, model.config.retrain)


def _latest(model: Model, as_of: datetime) -> datetime:
    """The newest valid `as_of`: now, or on the data's own clock when the next batch would be matured."""
    if model.config.clock == "wall":
        return model.home.local_now(model.config)
    landed = model.batches(as_of)
    if not landed:
        return as_of
    following = period_of(landed[-1].window.end, model.config.ingest.period)
    return following.end + (model.config.ingest.label.known_after or timedelta(0))


def attempt_digest(model: Model, chosen: Plan, as_of: datetime) -> str:
    """Digest of everything that a training and its judgement depend on: config, windows, champion, rows that count."""
    current = model.champion()
    used = model.usable_batches(as_of)
    quarantined = model.home.store.quarantined_ids_each([b.rows for b in used])
    rows = [[b.rows.sha256, b.labels.sha256, ids.tolist()] for b, ids in zip(used, quarantined, strict=True)]
    windows = [str(moment) for w in (chosen.train, chosen.gate) for moment in (w.start, w.end)]
    return digest_of([config_digest(model.config), windows, current.version if current else None, rows])


def refuse(model: Model, attempt: Attempt, refusal: Refusal) -> Decided:
    """Record that a retrain did not start, once for the same rule, reason and batch."""
    reason, as_of = attempt.reason, attempt.as_of
    newest = model.usable_batches(as_of)[-1:]
    payload = RetrainRefused(
        model=model.config.model,
        as_of=as_of,
        batch=interval(newest[0].window) if newest else "",
        reason=reason,
        rule=refusal.rule,
        reasons=[refusal.reason],
    )
    entry = model.home.ledger.append(
        Decision(
            decision_id=f"{model.config.model}:refused:{refusal.rule}:{reason}:{batch_key(model, as_of)}",
            model=model.config.model,
            kind="refused",
            as_of=as_of,
            body=circumstances(model)
            | Record(
                outcome="refused",
                reasons=[refusal.reason],
                trigger=trigger(model, attempt),
                rule=refusal.rule,
                verdicts=[],
            ),
            events=(Event.of(payload),),
        )
    )
    return decided(entry)


def failed(model: Model, attempt: Attempt, chosen: Plan, error: Exception) -> None:
    """Record that a retrain ended with an error, unless the error is transient.

    It is no decision: the same retrain may start again, until too many in a row have failed.
    """
    if getattr(error, "transient", False):
        return
    model.home.ledger.append(
        Decision(
            decision_id=f"{model.config.model}:failed:{uuid4().hex}",
            model=model.config.model,
            kind="failed",
            as_of=attempt.as_of,
            body=circumstances(model)
            | Record(
                outcome="failed",
                reasons=[f"{type(error).__name__}: {error}"],
                trigger=trigger(model, attempt),
                gate=chosen.gate,
                verdicts=[],
            ),
        )
    )


def clear(model: Model, by: str) -> list[Entry]:
    """Let retrains start again: confirm what is unusual, and forget rejections. Raises UsageError without either."""
    cleared = [confirm(model, by), _forgive(model, by)]
    if not (entries := [entry for entry in cleared if entry is not None]):
        raise UsageError(
            f"{model.config.model}: no rejections are counted against it, and no batch is unusual; there is nothing to clear"
        )
    return entries


def _forgive(model: Model, by: str) -> Entry | None:
    entries = model.home.ledger.entries(model.config.model)
    count = rejections(steps_of(model))
    if not count:
        return None
    counted = max(e.seq for e in entries if e.kind in {"rejected", "failed", "rolled_back"})
    reason = f"{by} cleared {count} rejection{'' if count == 1 else 's'} in a row"
    return model.home.ledger.append(
        Decision(
            decision_id=f"{model.config.model}:cleared:{counted}",
            model=model.config.model,
            kind=CLEARED,
            as_of=max(e.as_of for e in entries),
            body=circumstances(model)
            | Record(
                outcome=CLEARED,
                reasons=[reason],
                trigger=Trigger(reason="manual", kind=REQUEST),
                by=by,
                verdicts=[],
            ),
        )
    )


def steps_of(model: Model) -> list[Step]:
    """The relevant ledger entries of a model, in order. What another home sent counts only if it was promoted."""
    entries = model.home.ledger.entries(model.config.model)
    return [_step(entry) for entry in entries if entry.body.received is None or entry.body.promotion]


def _step(entry: Entry) -> Step:
    body = entry.body
    return Step(
        kind=entry.kind,
        as_of=entry.as_of,
        run_id=body.model.run_id if body.model and body.received is None else None,
        judged_until=body.gate.end if body.gate else None,
        attempt=body.attempt,
    )
