"""Closes the server's approval pages for ledger entries that were decided elsewhere."""

from __future__ import annotations

from trueup.errors import UsageError
from trueup.governance.approval import pending, resolution
from trueup.home import Home


def end_decided(home: Home) -> tuple[str, ...]:
    """Resume suspended runs with a closed entry, so that they end with the recorded decision; return their names.

    Prefect would otherwise fail them at their timeout. Entries of another home's ledger are left to that home.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.states import Scheduled

    with get_client(sync_client=True) as client:
        waiting = client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": ["approve"]}}),
            flow_run_filter=FlowRunFilter.model_validate({"state": {"name": {"any_": ["Suspended"]}}}),
            limit=200,
        )
        decided = [run for run in waiting if _closed(home, str(run.parameters.get("approval")))]
        for run in decided:
            message = "decided elsewhere; this run ends with what was recorded"
            client.set_flow_run_state(run.id, Scheduled(name="Resuming", message=message))
    return tuple(run.name for run in decided)


def _closed(home: Home, approval: str) -> bool:
    try:
        return resolution(home, pending(home, approval)) is not None
    except UsageError:
        return False
