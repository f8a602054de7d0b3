"""The events about batches: broken, unusual and missing ones, and shifted inputs. `loop.notices` has the words for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from trueup.adapters.git import packages
from trueup.config.schema import ModelConfig
from trueup.domain.data.dependencies import Dependencies, changes
from trueup.domain.data.digest import digest_of
from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.events import (
    BatchMissing,
    BatchPayload,
    DataBroken,
    DataUnusual,
    DependenciesChanged,
    ModelEstimatedDecay,
    ModelShifted,
    ModelSkewed,
    interval,
)
from trueup.domain.monitoring.diagnosis import ESTIMATED_DECAY, SHIFTED, SKEWED, UNUSUAL
from trueup.domain.records import to_plain
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch, Window
from trueup.handoffs import Checked, Observed
from trueup.ledger.entries import Event
from trueup.model import DEPENDENCIES, Model


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
        if ESTIMATED_DECAY in seen.findings:
            reasons = [r.removeprefix(f"{ESTIMATED_DECAY}: ") for r in seen.reasons if r.startswith(ESTIMATED_DECAY)]
            events.append(_event(ModelEstimatedDecay.model_validate({**about, "reasons": reasons}), check.batch))
        if next((name for name in seen.findings if name != SKEWED), None) == SHIFTED:
            events.append(_event(ModelShifted.model_validate({**about, "reasons": seen.reasons}), check.batch))
    changed = _dependencies(model, max((check.batch for check in checked), key=lambda b: b.window), as_of)
    model.home.ledger.announce(model.config.model, events + changed.events)
    changed.record()


@dataclass(frozen=True)
class _Changed:
    """Other dependencies than before: the event, and what records them. The event comes first: a crash repeats both."""

    events: list[Event]
    record: Callable[[], object]


def _dependencies(model: Model, newest: Batch, as_of: datetime) -> _Changed:
    """Compare the packages, and the columns of the newest batch, with those that were last recorded."""
    store, name, rows = model.home.store, model.config.model, newest.rows
    last = store.newest_results(name, DEPENDENCIES, Dependencies, 1)
    if last and last[0].window > newest.window:
        return _Changed([], lambda: None)  # an old batch was corrected
    types = {column: kind for column, kind in store.types(rows).items() if column not in {ROW_ID, EVENT_TIME}}
    now = Dependencies(packages(), {**dict.fromkeys(rows.facts.get("extra", []), ""), **types})
    reasons = changes(last[0].body, now) if last else []
    basis = digest_of(to_plain(now))[:32]
    record = partial(store.record, name, DEPENDENCIES, newest.window, newest.landed, as_of, now, basis)
    if not reasons:
        return _Changed([], (lambda: None) if last else record)
    about = {"model": name, "as_of": as_of, "batch": interval(newest.window), "reasons": reasons}
    event = Event.of(DependenciesChanged.model_validate(about), f"{interval(newest.window)}:{basis}")
    return _Changed([event], record)


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
