"""Finds missing batches: due by the calendar but not in the source. `loop.notices` has the notifications."""

from __future__ import annotations

from datetime import datetime, timedelta

from trueup.config.schema import ModelConfig
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.data.types import Window
from trueup.domain.events import BatchMissing, interval
from trueup.ledger.entries import Event
from trueup.model import Model


def watch(model: Model, as_of: datetime) -> list[Window]:
    """Announce and return every batch that is not complete in the source by its end plus `ingest.late_after`.

    A batch is announced once. Raises SourceError.
    """
    until = model.complete_until()
    missing = _due(model.config, until, as_of - model.config.ingest.late_after)
    model.home.ledger.announce(model.config.model, [_event(model.config, window, until, as_of) for window in missing])
    return missing


def _due(config: ModelConfig, until: datetime | None, now: datetime) -> list[Window]:
    """Periods that ended by `now`, from the one at which the source's complete data ends."""
    period = config.ingest.period
    if until is None:  # it is unknown when data should begin, so only the newest period is named
        return [period_of(period_of(now, period).start - timedelta(microseconds=1), period)]
    return complete_periods(until, now, period) if until < now else []


def _event(config: ModelConfig, window: Window, until: datetime | None, as_of: datetime) -> Event:
    due = window.end + config.ingest.late_after
    told = BatchMissing(model=config.model, as_of=as_of, batch=interval(window), due=due, newest=until)
    return Event.of(told, interval(window))
