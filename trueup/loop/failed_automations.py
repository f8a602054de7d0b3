"""Reads failed automations from the Prefect server and announces them like other events."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from trueup.adapters.prefect_events import FailedAction
from trueup.domain.events import NO_MODEL, PREFIX, AutomationFailed
from trueup.home import Home
from trueup.ledger.entries import Event

_MADE_UP_FOR: Final = {"change-flow-run-state"}  # of a run that has just ended, or that the reconciler handles
LOOK_BACK: Final = timedelta(days=8)  # a server keeps its events for seven by default


class Server(Protocol):
    """A server that knows failed automations."""

    def failed_actions(self, since: datetime) -> Sequence[FailedAction]:
        """All failures since a moment. Raises EventsUnavailable or EventRefused."""


def announce_failures(home: Home, server: Server, models: Collection[str]) -> int:
    """Announce new failures; return their number.

    The ids follow from the server's, so each call may read as far back as the server remembers, without a mark.
    Failures of models of another home are left to that home. A run that could not be marked as dead concerns nobody.
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
    resource = failed.set_off_by.resource.get("prefect.resource.id", "") if failed.set_off_by else ""
    return resource.removeprefix(PREFIX) if resource.startswith(PREFIX) else NO_MODEL


def _as_of(failed: FailedAction) -> datetime:
    """The event's `as_of`, if it has a valid one; an invalid payload may be the reason of the failure."""
    payload = failed.set_off_by.payload if failed.set_off_by else {}
    try:
        return datetime.fromisoformat(payload["as_of"]).replace(tzinfo=None)
    except (KeyError, TypeError, ValueError):
        return failed.occurred.astimezone(UTC).replace(tzinfo=None)
