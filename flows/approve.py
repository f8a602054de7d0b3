# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""A form for a pending approval: shows the evidence, waits, and makes the same call as the command line."""

from __future__ import annotations

from prefect import flow

from trueup.handoffs import Decided
from trueup.online.publish import publish_after_turn
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.approval_form import decide, title_of_approval
from trueup.orchestration.artifacts import show_approval, show_decision
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import Text


@flow(name="approve", flow_run_name=title_of_approval, **FLOW_OPTIONS)
def approve(approval: Text) -> Decided:
    """Show a waiting challenger, and decide by a form. It needs a deployment, because a suspended run starts again.

    This run is only a view of the approval in the ledger. If it is decided elsewhere or expires, the run ends with
    the recorded decision.

    Args:
        approval: Number of the pending ledger entry, or its id.
    """
    with opened_home(of_this_run()) as home:
        model, decided = decide(home, approval, show_approval)
        show_decision(model, decided)
        publish_after_turn(model)
        return decided
