"""Announces broken and unusual batches and shifted inputs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from trueup.domain.data.types import Batch
from trueup.domain.events import (
    BatchPayload,
    DataBroken,
    DataUnusual,
    ModelShifted,
    interval,
)
from trueup.domain.monitoring.diagnosis import SHIFTED, UNUSUAL
from trueup.handoffs import Checked, Observed
from trueup.ledger.entries import Event
from trueup.model import Model


def announce(
    model: Model,
    checked: Sequence[Checked],
    observed: Sequence[Observed],
    as_of: datetime,
    asked: Event | None = None,
) -> None:
    """Put the events of these batches into the outbox. The same batch again makes the same event."""
    events = [asked] if asked is not None else []
    for found, seen in zip(checked, observed, strict=True):
        about = {"model": model.config.model, "as_of": as_of, "batch": interval(seen.window)}
        about["revision"] = found.batch.rows.revision
        if not found.usable:
            events.append(_event(DataBroken.model_validate({**about, "reasons": found.reasons}), found.batch))
        if UNUSUAL in seen.findings:
            said = [o.words for o in seen.figures.unusual]
            events.append(_event(DataUnusual.model_validate({**about, "reasons": said}), found.batch))
        if seen.diagnosis == SHIFTED:
            events.append(_event(ModelShifted.model_validate({**about, "reasons": seen.reasons}), found.batch))
    model.home.ledger.announce(model.config.model, events)


def _event(payload: BatchPayload, batch: Batch) -> Event:
    return Event.of(payload, f"{interval(batch.window)}:r{batch.rows.revision}")
