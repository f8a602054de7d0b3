"""Hooks of flows: the run's name, events for the configured server, and notifications for `TRUEUP_NOTIFY`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from trueup.adapters.apprise import addresses
from trueup.adapters.prefect_events import EventApi
from trueup.config.settings import Settings
from trueup.orchestration.environment import server_address

if TYPE_CHECKING:
    from prefect import Flow, State
    from prefect.client.schemas.objects import FlowRun

    from trueup.home import Home

log = logging.getLogger(__name__)


def title() -> str:
    """Name a flow run by flow, model, and its `as_of`."""
    from prefect import runtime

    parameters = runtime.flow_run.parameters
    moment = f" as of {parameters['as_of']}"[:17] if parameters.get("as_of") else ""
    return f"{runtime.flow_run.flow_name} {parameters['model']}{moment}"


def event_api() -> EventApi | None:
    """The events API of the configured server; None without one, or if only a run's own server answers."""
    if server_address() is None:
        return None
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    if api.url is None:
        return None
    auth, key = (secret.get_secret_value() if secret is not None else None for secret in (api.auth_string, api.key))
    return EventApi(api.url, auth, key)


def pass_on(home: Home) -> None:
    """Deliver the outbox at the end of a run. Errors are only logged, because events can wait."""
    if (lineage := home.__dict__.get("lineage")) is not None and (said := lineage.flush().words):
        log.warning("%s", said)
    if (traces := home.__dict__.get("traces")) is not None and (said := traces.flush()):
        log.warning("%s", said)
    if "ledger" not in home.__dict__:
        return  # no decision or event was recorded
    from trueup.audit.verify import anchor
    from trueup.loop.notices import notify
    from trueup.loop.outbox import relay

    try:
        anchor(home)
        if (api := event_api()) is not None and (problem := relay(home, api).problem):
            log.warning("%s", problem)
        people = addresses(home.settings.notify)
        if people and (problem := notify(home, people).problem):
            log.warning("%s", problem)
    except Exception as error:
        log.warning("the outbox could not be passed on: %s; `trueup reconcile` tries again", error)


def notify_of_failure(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Notify people that a flow failed or crashed: a hook for `on_failure` and `on_crashed`."""
    notify_people(f"{flow_run.name} {str(state.name).lower()}", f"flow {flow.name}: {state.message or state.name}")


def notify_people(title: str, text: str) -> None:
    """Notify everybody in `TRUEUP_NOTIFY`. Failures are logged."""
    for person in addresses(Settings().notify):
        if (problem := person.send(f"Trueup: {title}", text)) is not None:
            log.warning("%s", problem)


FLOW_OPTIONS: dict[str, Any] = {
    "persist_result": False,
    "on_failure": [notify_of_failure],
    "on_crashed": [notify_of_failure],
}
"""Options of every flow: people are notified of its failure, and its result stays out of Prefect's storage."""
