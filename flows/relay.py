"""Hand over the events that wait: after a time without a server, or on a schedule beside the runs."""

from __future__ import annotations

from prefect import flow

from flows.telling import TOLD, event_api
from trueup.adapters.notify import Notifier
from trueup.errors import EventsUnavailable
from trueup.stages import relay as logic
from trueup.stages.ports import Ports
from trueup.stages.relay import Relayed


@flow(name="relay", flow_run_name="relay", **TOLD)
def relay() -> Relayed:
    """Pass the outbox of the home on to the event server and to people; fails when something still waits and why."""
    ports = Ports()
    try:
        found = logic.relay(ports, event_api())
        told = logic.notify(ports, people) if (people := Notifier.named(ports.settings.notify)) else None
    finally:
        ports.close()
    if problem := found.problem or (told.problem if told else None):
        raise EventsUnavailable(problem)
    return found
