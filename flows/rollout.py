# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""What a person does about the rollout of a challenger, by the form of its deployment."""

from __future__ import annotations

from prefect import flow

from trueup.config.load import load_model
from trueup.governance.rollout import Act, act
from trueup.governance.status import DecisionSummary
from trueup.online.publish import publish_after_turn
from trueup.online.rollout import status
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.artifacts import show_rollout
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import ModelName, Step, Text


@flow(name="rollout", flow_run_name="rollout {model}: {action}", **FLOW_OPTIONS)
def rollout(model: ModelName, action: Act, by: Text, why: Text, at_step: Step = None) -> DecisionSummary:
    """Pause, resume, advance or abort the rollout under way. The run's page shows the figures on which it was done.

    It makes the same call as `trueup rollout`. A run whose process dies is not restarted: an advance would count twice.

    Args:
        model: Name of a config in the folder of configs.
        action: Pause keeps it at its step, resume lets it go on, advance takes it a step further without waiting, abort ends it.
        by: Who decides, which the ledger records.
        why: The reason, which the ledger records.
        at_step: For advance, the step that the status showed: at another one nothing is done. Default: whatever the step is.
    """
    from trueup.model import Model

    with opened_home(of_this_run()) as home:
        opened = Model(load_model(home.configs, model), home)
        shown = status(opened)
        entry = DecisionSummary.of(act(opened, action, by, why, at_step))
        if shown is not None:
            show_rollout(shown, entry)
        publish_after_turn(opened)
        return entry
