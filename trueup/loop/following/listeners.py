"""Who follows the turns of a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any

from trueup.loop.following.followed import Listener, following
from trueup.loop.following.lineage import LineageOfStages
from trueup.loop.following.traces import TraceOfTurn
from trueup.model import Model


def followed(do: Any, model: Model, what: str, as_of: datetime) -> AbstractContextManager[Any]:
    """Follow a turn with every listener that the home has; the block gets its steps, see `following`."""
    return following(do, model, what, as_of, _listeners)


def _listeners(model: Model) -> list[Listener]:
    lineage, traces = model.home.lineage, model.home.traces
    listeners: list[Listener] = [] if lineage is None else [LineageOfStages(model, lineage)]
    return listeners if traces is None else [*listeners, TraceOfTurn(traces)]
