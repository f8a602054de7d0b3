# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Make an earlier version the champion again."""

from __future__ import annotations

from prefect import flow
from prefect.context import FlowRunContext

from trueup.config.load import load_model
from trueup.governance.rollback import roll_back
from trueup.handoffs import Decided
from trueup.online.publish import publish_after_turn
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.artifacts import show_decision
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import ModelName, Text, Version


@flow(name="rollback", flow_run_name="rollback {model}", **FLOW_OPTIONS)
def rollback(model: ModelName, by: Text, why: Text, to: Version = None) -> Decided:
    """Roll back to the last good champion, or to the named version, at once.

    If its process dies and it starts again, it does not roll back a champion that was promoted after the request.

    Args:
        model: Name of a config in the folder of configs.
        by: Who decides, which the ledger records.
        why: The reason, which the ledger records.
        to: A registered version; default: the last good champion.
    """
    from trueup.model import Model

    with opened_home(of_this_run()) as home:
        opened = Model(load_model(home.configs, model), home)
        run = FlowRunContext.get()
        asked_at = run.flow_run.created if run is not None and run.flow_run is not None else None
        decided = roll_back(opened, to, by, why, asked_at=asked_at)
        show_decision(opened, decided)
        publish_after_turn(opened)
        return decided
