# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Score the newest batch with the champion."""

from __future__ import annotations

from prefect import flow

from trueup.handoffs import Scored
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import FLOW_OPTIONS, title
from trueup.orchestration.parameters import AsOf, ModelName


@flow(name="score", flow_run_name=title, **FLOW_OPTIONS)
def score(model: ModelName, as_of: AsOf = None) -> Scored:
    """Land, validate and predict the newest complete batch; existing predictions stay as they are.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run, in the chosen time zone; default: by the config's clock.
    """
    with opened(model, as_of) as o:
        import tasks
        from trueup.loop.turn import score_newest

        return score_newest(tasks, o.model, o.as_of)
