"""Say when a batch that the calendar promises is not there."""

from __future__ import annotations

from datetime import datetime

from prefect import flow

from flows.opening import opened
from flows.telling import tell_failure
from trueup.domain.events import interval
from trueup.stages.watch import watch as look


@flow(
    name="watch",
    flow_run_name="watch {model}",
    persist_result=False,
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
)
def watch(model: str, as_of: datetime | None = None) -> list[str]:
    """Announce batches that are missing or late; each once.

    Args:
        model: Name of a config in the folder of configs.
        as_of: The moment to stand at; default: by the config's clock. By the clock of the data nothing is ever late.
    """
    with opened(model, as_of) as o:
        return [interval(window) for window in look(o.config, o.ports, o.as_of)]
