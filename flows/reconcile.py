"""Put right what crashes and absent servers leave behind: the outbox, MLflow's aliases and runs, Prefect's runs."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from prefect import flow

from flows.crashed import Flipped, flip
from flows.telling import TOLD, event_api
from trueup.adapters.notify import Notifier
from trueup.config.load import load_model, model_names
from trueup.stages.ports import Ports
from trueup.stages.reconcile import Mended
from trueup.stages.reconcile import reconcile as mend
from trueup.stages.relay import Relayed, notify, relay

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reconciled:
    """What was put right, and what could not be."""

    events: Relayed
    notices: Relayed
    models: tuple[Mended, ...]
    prefect: Flipped
    problems: tuple[str, ...]


def put_right(models: list[str] | None = None) -> Reconciled:
    """Reconcile the home: all models that have a config, or those named. One part that fails does not stop the others."""
    ports, problems, mended = Ports(), [], []
    try:
        api = event_api()
        events, notices = relay(ports, api), notify(ports, Notifier.named(ports.settings.notify))
        problems += [found.problem for found in (events, notices) if found.problem]
        for name in models if models is not None else model_names(ports.configs):
            try:
                mended.append(mend(load_model(ports.configs, name), ports))
            except Exception as error:
                problems.append(f"{name}: {error}")
        flipped = Flipped()
        if api is not None:
            try:
                flipped = flip()
            except Exception as error:
                problems.append(f"Prefect's runs could not be looked at: {error}")
    finally:
        ports.close()
    return Reconciled(events, notices, tuple(mended), flipped, tuple(problems))


@flow(name="reconcile", flow_run_name="reconcile", **TOLD)
def reconcile() -> Reconciled:
    """Reconcile the home; what could not be put right is in the result and tried again next time."""
    found = put_right()
    for problem in found.problems:
        log.warning("%s", problem)
    return found
