"""The order of a fleet, from what is recorded; no source is opened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trueup.domain.data.periods import period_of
from trueup.domain.monitoring.result import Look
from trueup.home import Home
from trueup.loop.turn import State, next_action
from trueup.model import MONITOR, Model
from trueup.orchestration.context import in_zone
from trueup.orchestration.fleet.selection import Chosen

OVERDUE, WAITING, OTHERS = 0, 1, 2


def by_urgency(home: Home, chosen: Sequence[Chosen], as_of: datetime | None = None) -> list[Chosen]:
    """Models with an overdue batch first, then those that wait for a retrain, then the others.

    A batch is overdue if the period after the newest landed batch has ended by `as_of` (default: the wall clock, in the
    model's time zone); the longest overdue come first. A model waits for a retrain if its last monitoring result calls
    for one. Equals are ordered by name. A config that cannot be read comes last.
    """
    moment = home.now() if as_of is None else as_of
    ordered = sorted(chosen, key=lambda one: (*_urgency(home, one, moment), one.name))
    home.forget()
    return ordered


def _urgency(home: Home, chosen: Chosen, moment: datetime) -> tuple[int, float]:
    if chosen.config is None:
        return OTHERS + 1, 0.0
    model = Model(chosen.config, home)
    if (late := _overdue(model, moment)) > 0:
        return OVERDUE, -late
    return (WAITING if _waits(model) else OTHERS), 0.0


def _overdue(model: Model, moment: datetime) -> float:
    """Seconds since the end of the first period without a batch; 0 if it has not ended, or nothing has landed."""
    if not (landed := model.home.store.batches(model.config.rows_dataset)):
        return 0.0
    end = period_of(landed[-1].window.end, model.config.ingest.period).end
    return max((in_zone(model.config, moment) - end).total_seconds(), 0.0)


def _waits(model: Model) -> bool:
    """Whether the last look at the present champion calls for a retrain."""
    last, current = model.home.store.last_result(model.config.model, MONITOR, Look), model.champion()
    if last is None or current is None or last.body.champion != current.version:
        return False
    return next_action(State(True, last.body.findings, model.config.retrain.findings)) is not None
