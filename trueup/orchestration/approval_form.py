"""The form of a pending approval: suspends the flow run, and makes the same call as the CLI.

The evidence on the run's page is in `trueup/orchestration/artifacts.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal

from prefect import runtime, suspend_flow_run
from prefect.input import RunInput
from pydantic import Field

from trueup.config.load import load_model
from trueup.errors import TrueupError
from trueup.governance import approval
from trueup.handoffs import Decided
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.model import Model
from trueup.orchestration.parameters import Text

Show = Callable[[Model, Entry], None]
_LATE = timedelta(hours=1)  # a form sent slightly too late gets a message instead of a failure


class Form(RunInput):
    """The fields of the form, without defaults: otherwise resuming without an answer would count as one."""

    decision: Literal["approve", "reject"] = Field(
        description="Approve makes the challenger the champion; reject keeps the champion."
    )
    name: Text = Field(description="Who decides; recorded in the ledger.")
    why: Text = Field(description="The reason; recorded in the ledger.")


def title_of_approval() -> str:
    """Name a run by its model and version, because a ledger id says little in a list of runs."""
    identity, home = runtime.flow_run.parameters["approval"], Home()
    try:
        entry = approval.pending(home, identity)
    except TrueupError:  # the flow itself raises and reports it
        return f"approve {identity}"
    finally:
        home.close()
    return f"approve {entry.model}: version {entry.body.version}"


def decide(home: Home, identity: str, show: Show) -> tuple[Model, Decided]:
    """The decision on a pending approval: the recorded one if there is one, else the one from the form.

    `show` publishes the evidence before the flow run is suspended. Raises UsageError for an unknown approval.
    """
    entry = approval.pending(home, identity)
    model = Model(load_model(home.configs, entry.model), home)
    return model, _decided(model, entry, show)


def _decided(model: Model, entry: Entry, show: Show) -> Decided:
    """The recorded decision, or that of the form."""
    approval.settle(model)
    if (closed := approval.resolution(model.home, entry)) is not None:
        return approval.decided(closed)
    show(model, entry)
    wait = approval.expires_at(entry) - model.home.now() + _LATE
    question = Form.with_initial_data(description=_question(entry))
    form = suspend_flow_run(wait_for_input=question, timeout=int(wait.total_seconds()))
    do = approval.approve if form.decision == "approve" else approval.reject
    return do(model, entry, form.name, form.why)


def _question(entry: Entry) -> str:
    body = entry.body
    previous = f"in place of version {body.previous.version}" if body.previous else "as the first champion"
    return f"**{entry.model}**: version {body.version} {previous}? This run's artifacts show the evidence."
