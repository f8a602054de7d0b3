"""Triggers of a retrain besides the diagnosis, and requests that are repeated until a decision follows.

The diagnosis leads to a retrain in `trueup.loop.turn.next_action`.

A request can get lost: another retrain was running, a crash came between a diagnosis and its announcement, or a flow
failed because the database was down. With monthly batches the next diagnosis would be a month away.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from trueup.adapters.store.results import Result
from trueup.config.durations import later
from trueup.domain.events import ModelDecayed, ModelDue, ModelStale, interval
from trueup.domain.monitoring.result import Look
from trueup.domain.retraining.limits import CLEARED, judged_until, starts
from trueup.domain.types import EVENT_TIME, ROW_ID, Reason
from trueup.governance.ledger_queries import RECEIPT
from trueup.governance.rollouts import CHANGES
from trueup.handoffs import Checked, Observed
from trueup.ledger.entries import Entry, Event
from trueup.loop.may_start import steps_of
from trueup.model import Model
from trueup.stages.features import matured
from trueup.stages.monitoring.unusual import CONFIRMED
from trueup.upkeep.forget import ERASED

_PATIENCE = timedelta(hours=1)  # wall time in which a requested retrain reaches a decision
_FOR_NOW = {"held", "refused"}  # more labels, or time, may change these
_PAYLOADS: dict[Reason, type[ModelDecayed | ModelStale]] = {"decayed": ModelDecayed, "stale": ModelStale}


def retrain_event(model: Model, reason: Reason, checked: Checked, observed: Observed, as_of: datetime) -> Event:
    """The event that requests a retrain because of a batch. It is the same event while a decision may still follow."""
    about, revision = interval(observed.window), checked.batch.rows.revision
    facts = {"model": model.config.model, "as_of": as_of, "batch": about, "revision": revision, "reason": reason}
    payload = _PAYLOADS.get(reason, ModelDue).model_validate({**facts, "reasons": list(observed.reasons)})
    earlier = [
        message
        for message in model.home.ledger.announced(model.config.model, payload.topic)
        if (message.payload["batch"], message.payload["revision"]) == (about, revision)
    ]
    again = len(earlier) - (bool(earlier) and model.home.now() - earlier[-1].created_at < _PATIENCE)
    return Event.of(payload, f"{about}:r{revision}" + (f":{again}" if again else ""))


def answered(model: Model, look: Result[Look], first: datetime) -> bool:
    """Whether a decision followed since monitoring found that a retrain is needed.

    `first` is when the champion was first monitored on that batch: a decision on it counts for later results too.
    """
    entries = model.home.ledger.entries(model.config.model)
    confirmed, cleared = (max((e.seq for e in entries if e.kind == kind), default=0) for kind in (CONFIRMED, CLEARED))
    gone_on = {"held": confirmed, "refused": cleared}  # until when such a decision may change
    return any(_answers(e, look, first) for e in entries if e.seq > gone_on.get(e.kind, 0))


def _answers(entry: Entry, look: Result[Look], first: datetime) -> bool:
    if entry.kind in {"failed", CONFIRMED, CLEARED, ERASED, RECEIPT, *CHANGES}:
        return False
    if entry.body.rule in {"running", "rollout"} or entry.body.received is not None:
        return False
    return entry.as_of >= (look.as_of if entry.kind in _FOR_NOW else first)


def due(model: Model, as_of: datetime) -> Reason | None:
    """The trigger of a retrain at `as_of`, independent of the diagnosis; None without one.

    `retrain.every` counts from the start of the last training, `retrain.new_rows` from the newest row that trained or
    judged a model, so a rejected challenger does not trigger the next one.
    """
    triggers = model.config.retrain
    if triggers.every is None and triggers.new_rows is None:
        return None
    if (current := model.champion()) is None:
        return None
    steps = steps_of(model)
    begun = max(starts(steps), default=None)
    if triggers.every is not None and (begun is None or as_of >= later(begun, triggers.every)):
        return "schedule"
    if triggers.new_rows is not None:
        since = max(current.trained_until, judged_until(steps) or datetime.min)
        if _known_since(model, since, as_of) >= triggers.new_rows:
            return "grown"
    return None


def _known_since(model: Model, since: datetime, as_of: datetime) -> int:
    used = [b for b in model.usable_batches(as_of) if b.window.end > since]
    if not used:
        return 0
    rows = model.home.store.effective([b.rows for b in used], [ROW_ID, EVENT_TIME])
    late = rows.loc[rows[EVENT_TIME] >= since, ROW_ID]
    return int(late.isin(matured(model.home, used, as_of).index).sum())
