"""The events about batches: broken, unusual and missing ones, and shifted inputs. `loop.notices` has the words for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from trueup.config.schema import ModelConfig
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.events import (
    BatchMissing,
    BatchPayload,
    DataBroken,
    DataUnusual,
    ModelShifted,
    ModelSkewed,
    interval,
)
from trueup.domain.monitoring.diagnosis import SHIFTED, SKEWED, UNUSUAL
from trueup.domain.types import Batch, Window
from trueup.handoffs import Checked, Observed
from trueup.ledger.entries import Event
from trueup.model import Model


def announce(
    model: Model,
    checked: Sequence[Checked],
    observed: Sequence[Observed],
    as_of: datetime,
    request: Event | None = None,
) -> None:
    """Put the events of these batches into the outbox. The same batch again makes the same event."""
    events = [request] if request is not None else []
    for check, seen in zip(checked, observed, strict=True):
        about = {"model": model.config.model, "as_of": as_of, "batch": interval(seen.window)}
        about["revision"] = check.batch.rows.revision
        if not check.usable:
            events.append(_event(DataBroken.model_validate({**about, "reasons": check.reasons}), check.batch))
        if UNUSUAL in seen.findings:
            reasons = [o.words for o in seen.figures.unusual]
            events.append(_event(DataUnusual.model_validate({**about, "reasons": reasons}), check.batch))
        if SKEWED in seen.findings and seen.figures.skew is not None:
            reasons = [seen.figures.skew.reason]
            events.append(_event(ModelSkewed.model_validate({**about, "reasons": reasons}), check.batch))
        if next((name for name in seen.findings if name != SKEWED), None) == SHIFTED:
            events.append(_event(ModelShifted.model_validate({**about, "reasons": seen.reasons}), check.batch))
    model.home.ledger.announce(model.config.model, events)


def _event(payload: BatchPayload, batch: Batch) -> Event:
    return Event.of(payload, f"{interval(batch.window)}:r{batch.rows.revision}")


def watch(model: Model, as_of: datetime) -> list[Window]:
    """Announce (once) and return every batch that is due by `ingest.late_after` and not complete. Raises SourceError."""
    until = model.complete_until()
    missing = _due(model.config, until, as_of - model.config.ingest.late_after)
    model.home.ledger.announce(model.config.model, [_missing(model.config, window, until, as_of) for window in missing])
    return missing


def _due(config: ModelConfig, until: datetime | None, now: datetime) -> list[Window]:
    """Periods that ended by `now`, from the one at which the source's complete data ends."""
    period = config.ingest.period
    if until is None:  # it is unknown when data should begin, so only the newest period is named
        return [period_of(period_of(now, period).start - timedelta(microseconds=1), period)]
    return complete_periods(until, now, period) if until < now else []


def _missing(config: ModelConfig, window: Window, until: datetime | None, as_of: datetime) -> Event:
    due = window.end + config.ingest.late_after
    payload = BatchMissing(model=config.model, as_of=as_of, batch=interval(window), due=due, newest=until)
    return Event.of(payload, interval(window))
