"""Let policies of retraining live through a model's history, each as a task of its own, and compare them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from pydantic import Field

from trueup.adapters import dask
from trueup.errors import UsageError
from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import in_zone, opened_home, sound_config
from trueup.orchestration.hooks import TOLD
from trueup.orchestration.parameters import AsOf, Model, Text

if TYPE_CHECKING:
    from prefect.task_runners import TaskRunner

    from trueup.config.policies import Policy
    from trueup.replay.replay import Replay

_LOOK = 5.0  # seconds between two looks at how far they are


@flow(name="replay", flow_run_name="replay {model}", **TOLD)
def replay(
    model: Model,
    policies: list[Text] | None = None,
    start: AsOf = None,
    end: AsOf = None,
    workers: Annotated[int, Field(ge=1, le=64)] = 1,
    known_then: bool = False,
) -> str:
    """Compare policies of retraining on the model's own history; give the path of the report.

    Args:
        model: Name of a config.
        policies: What to compare, such as `frozen` or `every 1 month, no gate`; default: those of the config, or the usual.
        start: Where the history begins; default: where the source does.
        end: Where it ends; default: with the newest complete batch.
        workers: Policies at once, each in a process of its own; a cluster named by TRUEUP_DASK has its own number.
        known_then: Only what the home had landed by each moment, instead of what the source holds today.
    """
    from tasks.artifacts import show_replay
    from trueup.config.policies import parse_all
    from trueup.replay.compare import usual
    from trueup.replay.replay import prepare, whole_span
    from trueup.replay.report import publish

    with opened_home(of_this_run("")) as ports:
        config = sound_config(ports.configs, model)
        first, last = (t and in_zone(config, t) for t in (start, end))
        span = whole_span(config, ports, first, last)
        chosen = parse_all(policies) if policies else usual(config)
        prepared = prepare(config, ports, span, chosen, known_then)
        _live_all(prepared, ports.settings.dask, workers)
        found = publish(config, ports, span, prepared.lives(), known_then)
        show_replay(config, ports, found.facts, found.page)
        return str(found.page)


@task(name="live", task_run_name="{policy.name}", cache_policy=NO_CACHE, persist_result=False)
def live(prepared: Replay, policy: Policy) -> None:
    """Let one policy live through the history, unless it has."""
    prepared.live(policy)


def _live_all(prepared: Replay, address: str | None, workers: int) -> None:
    """Let all of them live: here one after the other, or beside each other in processes or on a cluster."""
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
    """Where tasks run that are submitted. Raises UsageError where the setting names a cluster and Dask is not installed."""
    if address is None:
        from prefect.task_runners import ProcessPoolTaskRunner

        return ProcessPoolTaskRunner(max_workers=workers)
    try:
        from prefect_dask import DaskTaskRunner
    except ImportError:
        raise UsageError(dask.NOT_INSTALLED) from None
    found: TaskRunner[Any] = DaskTaskRunner(address=address)
    return found
