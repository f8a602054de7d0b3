"""Automations that failed: the server only notes it down, so it is read there and told like everything else."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from trueup.adapters.prefect_events import FailedAction
from trueup.domain.events import NO_MODEL, PREFIX, AutomationFailed
from trueup.home import Home
from trueup.ledger.entries import Event

_MADE_UP_FOR: Final = {"change-flow-run-state"}  # of a run that ended just then, or what the reconciler does as well
LOOK_BACK: Final = timedelta(days=8)  # a server keeps its events for seven, unless told otherwise


class Server(Protocol):
    """Who knows what automations could not do."""

    def failed_actions(self, since: datetime) -> Sequence[FailedAction]:
        """All of them since a moment, or raise EventsUnavailable or EventRefused."""


def tell_of_failures(home: Home, server: Server, models: Collection[str]) -> int:
    """Announce what failed and was not announced before; give the number.

    The ids follow from the server's, so every look may be as far back as the server remembers and nothing else has to
    be kept. What a model of another home set off is left to that home. That a run could not be marked as dead concerns
    nobody.
    """
    new = 0
    for failed in server.failed_actions(home.now() - LOOK_BACK):
        model = _model(failed)
        if failed.action in _MADE_UP_FOR:
            continue
        if model == NO_MODEL or model in models:
            new += home.ledger.announce(model, [Event.of(_payload(failed, model), failed.event_id)])
    return new


def _payload(failed: FailedAction, model: str) -> AutomationFailed:
    return AutomationFailed(
        model=model,
        as_of=_as_of(failed),
        automation=failed.automation,
        action=failed.action,
        occurred=failed.occurred,
        event=failed.set_off_by.event if failed.set_off_by else None,
        reasons=[failed.reason],
    )


def _model(failed: FailedAction) -> str:
    """The model whose event set it off."""
    named = failed.set_off_by.resource.get("prefect.resource.id", "") if failed.set_off_by else ""
    return named.removeprefix(PREFIX) if named.startswith(PREFIX) else NO_MODEL


def _as_of(failed: FailedAction) -> datetime:
    """That of the event, if it has one that can be read; a payload that fits nothing may be why it failed."""
    payload = failed.set_off_by.payload if failed.set_off_by else {}
    try:
        return datetime.fromisoformat(payload["as_of"]).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        return failed.occurred.astimezone(UTC).replace(tzinfo=None)
