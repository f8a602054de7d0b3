"""Notifies people of dead flow runs, because Prefect's hooks run in the dead process."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC

from trueup.domain.events import NO_MODEL, FlowDied
from trueup.home import Home
from trueup.ledger.entries import Event
from trueup.orchestration.recovery.dead_runs import AGAIN, Death


def announce_deaths(home: Home, deaths: Iterable[Death], models: Collection[str]) -> None:
    """Announce new deaths, and runs that are given up, once; runs of another home's models are left to it."""
    for death in deaths:
        given_up = death.flow in AGAIN and not death.again
        if (death.notified and not given_up) or death.model not in {None, *models}:
            continue
        payload = FlowDied(
            model=death.model or NO_MODEL,
            as_of=death.occurred.astimezone(UTC).replace(tzinfo=None),
            flow=death.flow,
            run=death.run_name,
            flow_run=death.run,
            occurred=death.occurred,
            begun_again=death.again,
            reasons=[death.why, _next(death, given_up)],
        )
        home.ledger.announce(payload.model, [Event.of(payload, death.id)])


def _next(death: Death, given_up: bool) -> str:
    if death.again:
        return "it is restarted"
    if given_up:
        return f"it was restarted {death.begun_again} times and is given up; see its page and the log of the worker"
    return "it is not restarted; its schedule, if it has one, starts the next"
