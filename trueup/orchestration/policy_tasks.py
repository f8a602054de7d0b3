"""Replayed policies as Prefect tasks."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from trueup.adapters.dask.cluster import NOT_INSTALLED
from trueup.config.policies import Policy, parse_all, usual
from trueup.errors import UsageError
from trueup.model import Model
from trueup.orchestration.context import in_zone
from trueup.replay.replay import Replay, prepare, whole_span
from trueup.replay.report import Published, publish

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

_LOOK = 5.0  # seconds between updates of the progress


@task(name="live", task_run_name="{policy.name}", cache_policy=NO_CACHE, persist_result=False)
def live(prepared: Replay, policy: Policy) -> None:
    """Play one policy through the history, unless its result is stored already."""
    prepared.live(policy)


def replay_policies(
    model: Model,
    policies: list[str] | None,
    start: datetime | None,
    end: datetime | None,
    workers: int,
    known_then: bool,
) -> Published:
    """Play the named policies, or those of the config, through the model's history, and publish the result."""
    span = whole_span(model, *(t and in_zone(model.config, t) for t in (start, end)))
    chosen = parse_all(policies) if policies else usual(model.config)
    prepared = prepare(model, span, chosen, known_then)
    with prepared.shared(model.home):
        _run(prepared, model.home.settings.dask, workers)
    return publish(model, span, prepared.runs(), known_then)


def _run(prepared: Replay, address: str | None, workers: int) -> None:
    """Play every policy as a task: one by one, or in parallel in processes or on the Dask cluster at `address`."""
    if address is None and workers == 1:
        for number, policy in enumerate(prepared.policies, start=1):
            live(prepared, policy)
            get_run_logger().info("%d of %d policies done", number, len(prepared.policies))
        return

    @flow(name="policies", flow_run_name=f"policies of {prepared.config.model}", task_runner=_runner(address, workers))
    def beside_each_other() -> None:
        from prefect.futures import wait

        jobs = [live.submit(prepared, policy) for policy in prepared.policies]
        while wait(jobs, timeout=_LOOK).not_done:
            get_run_logger().info("%.0f %% done", 100 * prepared.progress())
        for job in jobs:
            job.result()

    beside_each_other()


def _runner(address: str | None, workers: int) -> TaskRunner[Any]:
    """The task runner. Raises UsageError if the setting names a cluster and Dask is not installed."""
    if address is None:
        from prefect.task_runners import ProcessPoolTaskRunner

        return ProcessPoolTaskRunner(max_workers=workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise UsageError(NOT_INSTALLED) from None
    runner: TaskRunner[Any] = DaskTaskRunner(address=address)
    return runner
