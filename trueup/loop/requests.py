"""Requests to retrain after a diagnosis, repeated until a decision follows.

A request can fail: another retrain was running, a crash came between a diagnosis and its announcement, a flow failed
without its database. With monthly batches the next diagnosis would be a month away.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from trueup.adapters.store.results import Result
from trueup.domain.data.types import Reason
from trueup.domain.events import ModelDecayed, ModelDue, ModelStale, interval
from trueup.domain.monitoring.result import Look
from trueup.domain.retraining.limits import CLEARED
from trueup.handoffs import Checked, Observed
from trueup.ledger.entries import Entry, Event
from trueup.model import Model
from trueup.stages.unusual import CONFIRMED

_PATIENCE = timedelta(hours=1)  # wall time in which a requested retrain reaches a decision
_FOR_NOW = {"held", "refused"}  # more labels, or time, may change these
_TOLD: dict[Reason, type[ModelDecayed | ModelStale]] = {"decayed": ModelDecayed, "stale": ModelStale}


def asking(model: Model, reason: Reason, checked: Checked, observed: Observed, as_of: datetime) -> Event:
    """The event that requests a retrain because of a batch: the same event while an answer may still come."""
    about, revision = interval(observed.window), checked.batch.rows.revision
    facts = {"model": model.config.model, "as_of": as_of, "batch": about, "revision": revision, "reason": reason}
    payload = _TOLD.get(reason, ModelDue).model_validate({**facts, "reasons": list(observed.reasons)})
    asked = [
        message
        for message in model.home.ledger.announced(model.config.model, payload.topic)
        if (message.payload["batch"], message.payload["revision"]) == (about, revision)
    ]
    again = len(asked) - (bool(asked) and model.home.now() - asked[-1].created_at < _PATIENCE)
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
    if entry.kind in {"failed", CONFIRMED, CLEARED} or entry.body.rule == "running":
        return False
    return entry.as_of >= (look.as_of if entry.kind in _FOR_NOW else first)
