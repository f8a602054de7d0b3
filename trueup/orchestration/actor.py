"""Determines who started a run: a person at the command line, or an automation, schedule or form in Prefect."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from uuid import uuid4

from trueup.adapters.git import account
from trueup.domain.lineage import Parent
from trueup.domain.types import Actor


def at_the_command_line(by: str = "") -> Actor:
    """A person, by the given name or else the account's."""
    return Actor("person", by.strip() or account(), account(), "command line")


def parent_of_stages() -> Parent:
    """The flow run that stages belong to; without Prefect a run of its own."""
    context = None
    if "prefect" in sys.modules:
        from prefect.context import FlowRunContext

        context = FlowRunContext.get()
    if context is None or context.flow_run is None or context.flow is None:
        return Parent(str(uuid4()), "command", datetime.now(UTC))
    return Parent(str(context.flow_run.id), context.flow.name, datetime.now(UTC))


def of_this_run(by: str = "") -> Actor:
    """The actor behind the current flow run. One without a deployment was called at a command line.

    A deployment's run without automation or schedule was started by a person: `by`, if given.
    """
    if "prefect" not in sys.modules:
        return at_the_command_line(by)
    from prefect.context import FlowRunContext

    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None or run.deployment_id is None:
        return at_the_command_line(by)
    created = run.created_by
    if created is not None and created.type == "AUTOMATION":
        return Actor("automation", created.display_value or "", account(), "Prefect", str(run.id))
    if run.auto_scheduled:
        return Actor("schedule", "", account(), "Prefect", str(run.id))
    return Actor("person", by.strip(), account(), "Prefect", str(run.id))
