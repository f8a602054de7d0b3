"""Say when a batch that the calendar promises is not there."""

from __future__ import annotations

from prefect import flow

from trueup.domain.events import interval
from trueup.loop import late_batches
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import TOLD, title
from trueup.orchestration.parameters import AsOf, ModelName


@flow(name="watch", flow_run_name=title, **TOLD)
def watch(model: ModelName, as_of: AsOf = None) -> list[str]:
    """Announce batches that are missing or late; each once.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment to stand at; default: by the config's clock. By the clock of the data nothing is ever late.
    """
    with opened(model, as_of) as o:
        return [interval(window) for window in late_batches.watch(o.model, o.as_of)]
