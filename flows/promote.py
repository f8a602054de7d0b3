"""A form for a pending approval: the flow shows the evidence, waits, and makes the call that the command line makes."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from pathlib import Path

from prefect import flow, suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from flows.forms import Text
from flows.opening import opened_home
from flows.telling import TOLD
from tasks.artifacts import of_approval, of_decision, publish
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.ledger.entries import Entry
from trueup.stages import approval as logic
from trueup.stages.ports import Ports
from trueup.stages.references import Decided
from trueup.stages.report import run_folder

_LATE = timedelta(hours=1)  # a form sent just too late is told so, instead of failing


class Choice(Enum):
    """What can be decided."""

    APPROVE = "approve"
    REJECT = "reject"


class Form(RunInput):
    """What a person fills in. Nothing has a default: else resuming without an answer would be one."""

    decision: Choice = Field(description="Approve makes the challenger the champion; reject keeps the champion.")
    name: str = Field(min_length=1, description="Who decides; it stands in the ledger.")
    why: str = Field(min_length=1, description="Why; it stands in the ledger.")


@flow(name="approve", flow_run_name="approve {approval}", **TOLD)
def approve(approval: Text) -> Decided:
    """Show a challenger that waits, and decide by a form. It needs a deployment: a suspended run is started again.

    The ledger holds the approval, this run is only a view of it: decided elsewhere or expired meanwhile, it ends with
    what was recorded.

    Args:
        approval: Number of the pending ledger entry, or its id.
    """
    with opened_home() as ports:
        entry = logic.pending(ports, approval)
        config = load_model(ports.configs, entry.model)
        logic.settle(config, ports)
        if (closed := logic.resolution(ports, entry)) is not None:
            return _shown(entry, logic.decided(closed))
        publish(
            "approval", entry.model, of_approval(entry, _reports(config, ports, entry)), f"ledger entry {entry.seq}"
        )
        wait = logic.expires_at(entry) - ports.now() + _LATE
        form = suspend_flow_run(wait_for_input=Form, timeout=int(wait.total_seconds()))
        if form.decision is Choice.APPROVE:
            return _shown(entry, logic.approve(config, ports, entry, form.name, form.why))
        return _shown(entry, logic.reject(config, ports, entry, form.name, form.why))


def _shown(entry: Entry, decided: Decided) -> Decided:
    publish("decision", entry.model, of_decision(decided), f"on ledger entry {entry.seq}")
    return decided


def _reports(config: ModelConfig, ports: Ports, entry: Entry) -> list[tuple[str, Path]]:
    """The report of the judged run, and the picture of the comparison where there was a champion."""
    folder = run_folder(ports.root, config.model, entry.body["approval"]["run_id"])
    found = [("Report of the run", folder / "report.html")]
    picture = folder / "challenger_against_champion.png"
    return [*found, ("Challenger against champion", picture)] if entry.body["previous"] else found
