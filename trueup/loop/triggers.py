"""Triggers of a retrain besides the diagnosis: the calendar, and the number of new labels."""

from __future__ import annotations

from datetime import datetime

from trueup.config.durations import later
from trueup.domain.data.types import EVENT_TIME, ROW_ID, Reason
from trueup.domain.retraining.limits import judged_until, starts
from trueup.loop.may_start import steps_of
from trueup.model import Model
from trueup.stages.features import matured


def due(model: Model, as_of: datetime) -> Reason | None:
    """Why a champion is to be challenged at `as_of`, whatever the diagnosis; None without a trigger.

    `retrain.every` counts from the start of the last training, `retrain.new_rows` from the newest row that trained or
    judged a model, so a rejected challenger does not trigger the next one.
    """
    wanted = model.config.retrain
    if wanted.every is None and wanted.new_rows is None:
        return None
    if (current := model.champion()) is None:
        return None
    steps = steps_of(model)
    begun = max(starts(steps), default=None)
    if wanted.every is not None and (begun is None or as_of >= later(begun, wanted.every)):
        return "schedule"
    if wanted.new_rows is not None:
        since = max(current.trained_until, judged_until(steps) or datetime.min)
        if _known_since(model, since, as_of) >= wanted.new_rows:
            return "grown"
    return None


def _known_since(model: Model, since: datetime, as_of: datetime) -> int:
    """The number of later rows with a label that counts."""
    used = [b for b in model.usable_batches(as_of) if b.window.end > since]
    if not used:
        return 0
    rows = model.home.store.effective([b.rows for b in used], [ROW_ID, EVENT_TIME])
    late = rows.loc[rows[EVENT_TIME] >= since, ROW_ID]
    return int(late.isin(matured(model.home, used, as_of).index).sum())
