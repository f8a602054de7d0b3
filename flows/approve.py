"""A form for a pending approval: the flow shows the evidence, waits, and makes the call that the command line makes."""

from __future__ import annotations

from prefect import flow

from tasks.artifacts import show_approval, show_decision
from trueup.handoffs import Decided
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.approval_form import decide, title_of_approval
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import TOLD
from trueup.orchestration.parameters import Text


@flow(name="approve", flow_run_name=title_of_approval, **TOLD)
def approve(approval: Text) -> Decided:
    """Show a challenger that waits, and decide by a form. It needs a deployment: a suspended run is started again.

    The ledger holds the approval, this run is only a view of it: decided elsewhere or expired meanwhile, it ends with
    what was recorded.

    Args:
        approval: Number of the pending ledger entry, or its id.
    """
    with opened_home(of_this_run()) as home:
        model, decided = decide(home, approval, show_approval)
        show_decision(model, decided)
        return decided
