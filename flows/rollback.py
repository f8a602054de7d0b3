"""Put an earlier champion back into office."""

from __future__ import annotations

from prefect import flow

from flows.forms import Model, Text, Version
from flows.opening import opened_home
from flows.telling import TOLD
from tasks.artifacts import of_decision, publish
from trueup.config.load import load_model
from trueup.stages import rollback as logic
from trueup.stages.references import Decided


@flow(name="rollback", flow_run_name="rollback {model}", **TOLD)
def rollback(model: Model, by: Text, why: Text, to: Version = None) -> Decided:
    """Roll back to the last good champion, or to the version named; effective at once.

    Args:
        model: Name of a config in the folder of configs.
        by: Who decides; it stands in the ledger.
        why: Why; it stands in the ledger.
        to: A registered version; default: the last good champion.
    """
    with opened_home() as ports:
        decided = logic.rollback(load_model(ports.configs, model), ports, to, by, why)
        publish("decision", model, of_decision(decided), f"by {by}")
        return decided
