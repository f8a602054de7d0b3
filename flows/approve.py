"""A form for a pending approval: the flow shows the evidence, waits, and makes the call that the command line makes."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from prefect import flow, runtime, suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from tasks.artifacts import show_approval, show_decision
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.errors import TrueupError
from trueup.governance import approval as logic
from trueup.handoffs import Decided
from trueup.home import Ports
from trueup.ledger.entries import Entry
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import opened_home
from trueup.orchestration.hooks import TOLD
from trueup.orchestration.parameters import Text

_LATE = timedelta(hours=1)  # a form sent just too late is told so, instead of failing


class Form(RunInput):
    """What a person fills in. Nothing has a default: else resuming without an answer would be one."""

    decision: Literal["approve", "reject"] = Field(
        description="Approve makes the challenger the champion; reject keeps the champion."
    )
    name: Text = Field(description="Who decides; it stands in the ledger.")
    why: Text = Field(description="Why; it stands in the ledger.")


def _title() -> str:
    """Name a run by what waits: the number or id of a ledger entry says little in a list of runs."""
    approval, ports = runtime.flow_run.parameters["approval"], Ports()
    try:
        entry = logic.pending(ports, approval)
    except TrueupError:  # which the flow itself runs into, and tells
        return f"approve {approval}"
    finally:
        ports.close()
    return f"approve {entry.model}: version {entry.body['model']['version']}"


@flow(name="approve", flow_run_name=_title, **TOLD)
def approve(approval: Text) -> Decided:
    """Show a challenger that waits, and decide by a form. It needs a deployment: a suspended run is started again.

    The ledger holds the approval, this run is only a view of it: decided elsewhere or expired meanwhile, it ends with
    what was recorded.

    Args:
        approval: Number of the pending ledger entry, or its id.
    """
    with opened_home(of_this_run()) as ports:
        entry = logic.pending(ports, approval)
        config = load_model(ports.configs, entry.model)
        decided = _decided(config, ports, entry)
        show_decision(config, ports, decided)
        return decided


def _decided(config: ModelConfig, ports: Ports, entry: Entry) -> Decided:
    """What became of it; if nothing yet, what the form says."""
    logic.settle(config, ports)
    if (closed := logic.resolution(ports, entry)) is not None:
        return logic.decided(closed)
    show_approval(config, ports, entry)
    wait = logic.expires_at(entry) - ports.now() + _LATE
    asked = Form.with_initial_data(description=_question(entry))
    form = suspend_flow_run(wait_for_input=asked, timeout=int(wait.total_seconds()))
    do = logic.approve if form.decision == "approve" else logic.reject
    return do(config, ports, entry, form.name, form.why)


def _question(entry: Entry) -> str:
    """What stands over the form."""
    body = entry.body
    previous = f"in place of version {body['previous']['version']}" if body["previous"] else "as the first champion"
    return f"**{entry.model}**: version {body['model']['version']} {previous}? This run's artifacts show the evidence."
