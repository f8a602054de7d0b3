# Yours to change: `trueup upgrade` shows how it differs from the template of the installed version.
"""Announce batches that are due by the calendar and missing."""

from __future__ import annotations

from prefect import flow

from trueup.domain.events import interval
from trueup.loop import announce
from trueup.orchestration.context import opened
from trueup.orchestration.hooks import FLOW_OPTIONS, title
from trueup.orchestration.parameters import AsOf, ModelName


@flow(name="watch", flow_run_name=title, **FLOW_OPTIONS)
def watch(model: ModelName, as_of: AsOf = None) -> list[str]:
    """Announce missing and late batches, each once.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment for which to run; default: by the config's clock. By the clock of the data no batch is ever late.
    """
    with opened(model, as_of) as o:
        return [interval(window) for window in announce.watch(o.model, o.as_of)]
