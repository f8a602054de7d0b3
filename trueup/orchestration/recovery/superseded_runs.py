"""Cancels waiting runs that another waiting run makes unnecessary.

`run` has one run at a time per model, and handles every batch up to its `as_of`. If batches arrive faster than they are
handled, the queue grows, and each queued run costs the start of a process just to find that all is done.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trueup.orchestration.recovery.dead_runs import read_flow_runs

if TYPE_CHECKING:
    from prefect import State
    from prefect.client.schemas.objects import FlowRun

_SLOT = "AwaitingConcurrencySlot"  # Prefect's name of the state


def drop_overtaken() -> tuple[str, ...]:
    """Cancel the waiting runs of `run` that another waiting one makes unnecessary; return the names of their models.

    Keeps, of a model's runs with the same retrain mode, the run with the latest `as_of`. A run without `as_of` uses the
    newest batch when it starts.
    """
    from prefect.client.orchestration import get_client
    from prefect.states import Cancelled

    with get_client(sync_client=True) as client:
        alike: dict[tuple[object, ...], list[FlowRun]] = defaultdict(list)
        for run in read_flow_runs(client, ("run",), state={"name": {"any_": [_SLOT]}}):
            alike[run.deployment_id, run.parameters.get("model"), run.parameters.get("retrain")].append(run)
        dropped = []
        for same in alike.values():
            stays = max(same, key=_reach)
            cancelled: State[Any] = Cancelled(
                message=f"not needed: the run {stays.name}, which waits too, handles every batch that this one would"
            )
            for run in same:
                if run is not stays and _is_cancelled(client.set_flow_run_state(run.id, cancelled).state):
                    dropped.append(str(run.parameters.get("model")))
    return tuple(dropped)


def _is_cancelled(state: State[Any] | None) -> bool:
    return state is not None and state.is_cancelled()


def _reach(run: FlowRun) -> tuple[bool, datetime, datetime]:
    """How far a run goes; among equals the first one sorts lowest."""
    as_of, expected = run.parameters.get("as_of"), run.expected_start_time
    assert expected is not None  # Prefect sets it for every scheduled run
    moment = datetime.fromisoformat(str(as_of)).replace(tzinfo=None) if as_of else datetime.max
    return as_of is None, moment, expected
