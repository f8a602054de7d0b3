# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Monitor the newest batch with the labels known by now."""

from __future__ import annotations

from prefect import flow

from trueup.handoffs import Observed
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import FLOW_OPTIONS, title
from trueup.orchestration.parameters import AsOf, ModelName


@flow(name="monitor", flow_run_name=title, **FLOW_OPTIONS)
def monitor(model: ModelName, as_of: AsOf = None) -> Observed:
    """Compare the newest batch's predictions with its labels, and diagnose the champion.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run, in the chosen time zone; default: by the config's clock.
    """
    with opened(model, as_of) as o:
        import tasks
        from trueup.loop.turn import monitor_newest

        return monitor_newest(tasks, o.model, o.as_of)
