# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""One turn of the loop: ingest, validate, score, monitor, and retrain if the diagnosis asks for it."""

from __future__ import annotations

from prefect import flow

from trueup.domain.types import Retrain
from trueup.handoffs import Cycle
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import FLOW_OPTIONS, title
from trueup.orchestration.parameters import AsOf, ModelName


@flow(name="run", flow_run_name=title, **FLOW_OPTIONS)
def run(model: ModelName, as_of: AsOf = None, retrain: Retrain = "inline") -> Cycle:
    """Process the new batches that are complete at `as_of`.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run, in the chosen time zone; default: by the config's clock.
        retrain: What to do when the diagnosis asks for a retrain: start it in this run, or leave it to others.
    """
    with opened(model, as_of) as o:
        import tasks
        from trueup.loop.turn import cycle
        from trueup.orchestration.artifacts import show_decision

        done = cycle(tasks, o.model, o.as_of, retrain)
        show_decision(o.model, done.decided)
        return done
