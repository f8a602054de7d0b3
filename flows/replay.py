# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Compare retraining policies on a model's history, each as a task."""

from __future__ import annotations

from typing import Annotated

from prefect import flow
from pydantic import Field

from trueup.orchestration.actor import of_this_run
from trueup.orchestration.context import opened_home, sound_config
from trueup.orchestration.hooks import FLOW_OPTIONS
from trueup.orchestration.parameters import AsOf, ModelName, Text


@flow(name="replay", flow_run_name="replay {model}", **FLOW_OPTIONS)
def replay(
    model: ModelName,
    policies: list[Text] | None = None,
    start: AsOf = None,
    end: AsOf = None,
    workers: Annotated[int, Field(ge=1, le=64)] = 1,
    known_then: bool = False,
) -> str:
    """Compare retraining policies on the model's own history; return the path of the report.

    Args:
        model: Name of a config.
        policies: Policies to compare, such as `frozen` or `every 1 month, no gate`; default: those of the config, or a standard set.
        start: Start of the history; default: that of the source.
        end: End of the history; default: the newest complete batch.
        workers: Number of policies in parallel, each in its own process; a cluster of TRUEUP_DASK has its own number.
        known_then: Use only what the home had landed by each moment, instead of today's source.
    """
    with opened_home(of_this_run("")) as home:
        from trueup.model import Model
        from trueup.orchestration.artifacts import show_replay
        from trueup.orchestration.policy_tasks import replay_policies

        opened = Model(sound_config(home.configs, model), home)
        report = replay_policies(opened, policies, start, end, workers, known_then)
        show_replay(opened, report.facts, report.page)
        return str(report.page)
