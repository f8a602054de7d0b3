"""Finds flow and task runs that Prefect shows as running although their process is dead, and the slots they hold.

A dead run starts again, because the event or person behind it would not request it again. Every stage can be repeated, so it
continues where it was. A cancelled run stays ended, however its process ended.

Three parts notice a dead process: an automation on the server, by heartbeats (`trueup.orchestration.stack.deploy`); the
start of a stack (`trueup.orchestration.recovery.interrupted_runs`); and the reconciler, through this module, for the
rest. They only end runs, with the same message; this module alone decides what follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from trueup.orchestration.recovery.processes import alive

if TYPE_CHECKING:
    from prefect import State
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

TURN = "turn"  # of a fleet, which holds a slot of the deployment of its model's `run`
OURS = (
    *("run", "retrain", "score", "monitor", "watch", "feed", "reconcile", "gc", "rollback", "approve", "rollout"),
    *("fleet", TURN),
)
# The calendar repeats the others, a finished feed would release one batch more, and a rollout would go a step too far.
AGAIN = ("run", "retrain", "score", "monitor", "rollback", "approve")
AT_WORK = ("RUNNING", "PENDING", "CANCELLING")
BEGUN_AGAIN = "BegunAgain"  # the name of our state, which counts restarts
TRIES = 3  # more restarts would fail again
RECENT = timedelta(days=1)
GONE = "the process of this run is gone"  # ends messages that are not the run's own: its hooks notified nobody
HEARTBEAT = "prefect.flow-run.heartbeat"
DEAD_AFTER = 90  # seconds without a heartbeat (three of Prefect's) after which a flow run counts as dead
QUIET = timedelta(minutes=2)  # four of Prefect's heartbeats, and longer than a flow run's process takes to start
MUTE = timedelta(minutes=10)  # the first heartbeat comes at once, and is lost if the server is killed just then


@dataclass(frozen=True)
class Death:
    """A flow run that crashed, and what follows."""

    id: str  # number of this death, because a run may die several times
    flow: str
    run: str
    run_name: str
    model: str | None
    occurred: datetime
    why: str
    begun_again: int  # earlier restarts
    again: bool  # whether it restarts now
    notified: bool  # whether the run's own hooks notified people


@dataclass(frozen=True)
class Flipped:
    """The repairs on the Prefect server."""

    flow_runs: tuple[str, ...] = ()
    task_runs: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()  # limits with freed slots
    again: tuple[str, ...] = ()  # restarted flow runs
    deaths: tuple[Death, ...] = ()  # recent ones, including those repaired before


def flip(quiet: timedelta = QUIET, mute: timedelta = MUTE) -> Flipped:
    """End dead runs, free the slots of deployments that no run holds, and restart what died.

    A flow run is dead if it sent heartbeats and none for `quiet`, if a worker took it and it has not started for as
    long, or if a deployment's run has run for `mute` without any heartbeat. Runs that were started by hand and
    never sent a heartbeat are left alone, and so are runs with a live process on this machine: after a suspension of the
    machine, heartbeats are missing although no run is dead. A task run is dead when its flow run has ended.
    """
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        before = datetime.now(UTC) - quiet
        living = alive()
        silent = [*_silent_flow_runs(client, before, datetime.now(UTC) - mute), *_never_begun(client, before)]
        dead = [run for run in silent if str(run.id) not in living]
        for run in dead:
            client.set_flow_run_state(run.id, _end(run, f"not heard of for {quiet}: {GONE}"), force=True)
        tasks, slots = _flip_task_runs(client, living), _free_slots(client, before)
        deaths = _deaths(client, living)
        for death in deaths:
            if death.again:
                client.set_flow_run_state(UUID(death.run), _again(death), force=True)
        again = tuple(death.run_name for death in deaths if death.again)
        return Flipped(tuple(run.name for run in dead), tuple(tasks), tuple(slots), again, tuple(deaths))


def _end(run: FlowRun, message: str) -> State[Any]:
    """End a run without a process: as crashed, or in the state that somebody wanted."""
    from prefect.states import Cancelled, Crashed

    cancelled = run.state is not None and run.state.is_cancelling()
    return (Cancelled if cancelled else Crashed)(message=message)


def _again(death: Death) -> State[Any]:
    from prefect.states import Scheduled

    message = f"its process died; it is restarted ({death.begun_again + 1} of {TRIES})"
    return Scheduled(name=BEGUN_AGAIN, message=message)


def _silent_flow_runs(client: SyncPrefectClient, before: datetime, mute_since: datetime) -> list[FlowRun]:
    running = _flow_runs(client, OURS, ("RUNNING", "CANCELLING"), start_time={"before_": before.isoformat()})
    # A suspended run has sent heartbeats before, and may have been resumed just now.
    settled = [run for run in running if run.state is not None and run.state.timestamp < before]

    def silent(run: FlowRun) -> bool:
        if (beat := _last_beat(client, run.id)) is not None:
            return beat < before
        return run.deployment_id is not None and run.state is not None and run.state.timestamp < mute_since

    return [run for run in settled if silent(run)]


def _never_begun(client: SyncPrefectClient, before: datetime) -> list[FlowRun]:
    """Flow runs that a worker accepted before a moment and that have not started."""
    taken = _flow_runs(client, OURS, ("PENDING",), deployment_id={"is_null_": False})
    return [run for run in taken if run.state is not None and run.state.timestamp < before]


def _deaths(client: SyncPrefectClient, living: set[str]) -> list[Death]:
    """Recent crashes; a run that was being cancelled becomes cancelled instead."""
    lately, deaths = datetime.now(UTC) - RECENT, []
    for flow in OURS:
        for run in _flow_runs(client, (flow,), ("CRASHED",), deployment_id={"is_null_": False}):
            if run.state is None or run.state.timestamp < lately or str(run.id) in living:
                continue
            states = sorted(client.read_flow_run_states(run.id), key=lambda state: state.timestamp)
            if _was_cancelled(states):
                from prefect.states import Cancelled

                client.set_flow_run_state(run.id, Cancelled(message=f"it was being cancelled: {GONE}"), force=True)
                continue
            deaths.append(_death(flow, run, run.state, states))
    return deaths


def _was_cancelled(states: list[State[Any]]) -> bool:
    """Whether somebody cancelled it since it was last started."""
    for state in reversed(states):
        if state.is_scheduled():
            return False
        if state.is_cancelling():
            return True
    return False


def _death(flow: str, run: FlowRun, crash: State[Any], states: list[State[Any]]) -> Death:
    count, why = sum(state.name == BEGUN_AGAIN for state in states), crash.message or "no reason is known"
    model = run.parameters.get("model")
    return Death(
        id=str(crash.id),
        flow=flow,
        run=str(run.id),
        run_name=run.name,
        model=str(model) if model else None,
        occurred=crash.timestamp,
        why=why,
        begun_again=count,
        again=flow in AGAIN and count < TRIES,
        notified=not why.endswith(GONE),
    )


def _flow_runs(
    client: SyncPrefectClient, flows: tuple[str, ...], states: tuple[str, ...], **more: dict[str, Any]
) -> list[FlowRun]:
    return read_flow_runs(client, flows, state={"type": {"any_": list(states)}}, **more)


def read_flow_runs(client: SyncPrefectClient, flows: tuple[str, ...], **conditions: dict[str, Any]) -> list[FlowRun]:
    """The newest 200 runs of flows of these names under the conditions of Prefect's filter of flow runs."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter
    from prefect.client.schemas.sorting import FlowRunSort

    return client.read_flow_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": list(flows)}}),
        flow_run_filter=FlowRunFilter.model_validate(conditions),
        sort=FlowRunSort.EXPECTED_START_TIME_DESC,
        limit=200,
    )


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
    events = client.request("POST", "/events/filter", json=query).json()["events"]
    return datetime.fromisoformat(events[0]["occurred"].replace("Z", "+00:00")) if events else None


def _flip_task_runs(client: SyncPrefectClient, living: set[str]) -> list[str]:
    """End task runs of our flow runs that have ended."""
    from prefect.client.schemas.filters import FlowFilter, FlowRunFilter, TaskRunFilter
    from prefect.states import Crashed

    ended = {"state": {"type": {"any_": ["CRASHED", "FAILED", "CANCELLED", "COMPLETED"]}}}
    running = client.read_task_runs(
        flow_filter=FlowFilter.model_validate({"name": {"any_": list(OURS)}}),
        flow_run_filter=FlowRunFilter.model_validate(ended),
        task_run_filter=TaskRunFilter.model_validate({"state": {"type": {"any_": ["RUNNING"]}}}),
        limit=200,
    )
    dead = [run for run in running if str(run.flow_run_id) not in living]
    for run in dead:
        client.set_task_run_state(run.id, Crashed(message="its flow run has ended"), force=True)
    return [run.name for run in dead]


def _free_slots(client: SyncPrefectClient, before: datetime) -> list[str]:
    """Set a deployment's taken slots to the number of its runs, if they have been too many for a while."""
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
    from prefect.client.schemas.filters import FlowFilter

    freed = []
    named = FlowFilter.model_validate({"name": {"any_": list(OURS)}})
    for deployment in client.read_deployments(flow_filter=named):
        limit = deployment.global_concurrency_limit
        if limit is None or not limit.active_slots or limit.updated is None or limit.updated > before:
            continue
        at_work = _flow_runs(client, OURS, AT_WORK, deployment_id={"any_": [str(deployment.id)]})
        if str(deployment.entrypoint).endswith(":run"):
            model = (deployment.parameters or {}).get("model")
            at_work += [run for run in _flow_runs(client, (TURN,), AT_WORK) if run.parameters.get("model") == model]
        if len(at_work) < limit.active_slots:
            change = GlobalConcurrencyLimitUpdate(active_slots=len(at_work))
            client.update_global_concurrency_limit(limit.name, change)
            freed.append(deployment.name)
    return freed
