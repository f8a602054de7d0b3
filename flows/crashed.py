"""Flow and task runs that Prefect shows as running although their process is long dead, and the slots they hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

OURS = ("run", "retrain", "score", "monitor", "watch", "feed", "relay", "reconcile")
HEARTBEAT = "prefect.flow-run.heartbeat"
QUIET = timedelta(minutes=5)  # ten of Prefect's own beats


@dataclass(frozen=True)
class Flipped:
    """What was put right on the Prefect server."""

    flow_runs: tuple[str, ...] = ()
    task_runs: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()  # limits from which slots were taken back


def flip(quiet: timedelta = QUIET) -> Flipped:
    """Mark as CRASHED what runs no more, and take back the slots of deployments that nobody holds.

    A flow run is dead when it sent heartbeats and none for `quiet`; one that never sent any is left alone, for nobody
    can tell. A task run is dead when its flow run has ended.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        flows = _silent_flow_runs(client, datetime.now(UTC) - quiet)
        for run in flows:
            client.set_flow_run_state(run.id, _crashed(f"no heartbeat for {quiet}: its process is dead"), force=True)
        return Flipped(
            tuple(run.name for run in flows),
            tuple(_flip_task_runs(client)),
            tuple(_free_slots(client, datetime.now(UTC) - quiet)),
        )


def _crashed(message: str) -> Any:
    from prefect.states import Crashed

    return Crashed(message=message)


def _silent_flow_runs(client: SyncPrefectClient, before: datetime) -> list[FlowRun]:
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter

    wanted = {"state": {"type": {"any_": ["RUNNING"]}}, "start_time": {"before_": before.isoformat()}}
    running = client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": list(OURS)}}),
        flow_run_filter=FlowRunFilter.model_validate(wanted),
        limit=200,
    )
    return [run for run in running if (beat := _last_beat(client, run.id)) is not None and beat < before]


def _last_beat(client: SyncPrefectClient, flow_run: UUID) -> datetime | None:
    query = {
        "filter": {
            "event": {"name": [HEARTBEAT]},
            "resource": {"id": [f"prefect.flow-run.{flow_run}"]},
            "occurred": {"since": (datetime.now(UTC) - timedelta(days=7)).isoformat()},
            "order": "DESC",
        },
        "limit": 1,
    }
    found = client.request("POST", "/events/filter", json=query).json()["events"]
    return datetime.fromisoformat(found[0]["occurred"].replace("Z", "+00:00")) if found else None


def _flip_task_runs(client: SyncPrefectClient) -> list[str]:
    """Task runs still running in flow runs of ours that have ended."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter

    ended = {"state": {"type": {"any_": ["CRASHED", "FAILED", "CANCELLED", "COMPLETED"]}}}
    running = client.read_task_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": list(OURS)}}),
        flow_run_filter=FlowRunFilter.model_validate(ended),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}}),
        limit=200,
    )
    for run in running:
        client.set_task_run_state(run.id, _crashed("its flow run has ended"), force=True)
    return [run.name for run in running]


def _free_slots(client: SyncPrefectClient, before: datetime) -> list[str]:
    """Set a deployment's taken slots to the number of its runs, where they have been too many for a while."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.client.schemas.filters import DeploymentFilter, FlowFilter, FlowRunFilter

    freed = []
    named = FlowFilter.model_validate({"name": {"any_": list(OURS)}})
    for deployment in client.read_deployments(flow_filter=named):
        limit = deployment.global_concurrency_limit
        if limit is None or not limit.active_slots or limit.updated is None or limit.updated > before:
            continue
        at_work = client.read_flow_runs(
            deployment_filter=DeploymentFilter.model_validate({"id": {"any_": [str(deployment.id)]}}),
            flow_run_filter=FlowRunFilter.model_validate(
                {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
            ),
        )
        if len(at_work) < limit.active_slots:
            change = GlobalConcurrencyLimitUpdate(active_slots=len(at_work))
            client.update_global_concurrency_limit(limit.name, change)
            freed.append(deployment.name)
    return freed
