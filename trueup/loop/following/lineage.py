"""Lineage of the loop: around each stage, events with what it reads and writes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from trueup.domain.lineage import Dataset, Happening, Parent, StageRun, State
from trueup.loop import steps
from trueup.loop.following.followed import Call, Ending, Turn
from trueup.loop.following.lineage_datasets import Flow, flow_of, query_of
from trueup.model import Model

if TYPE_CHECKING:
    from trueup.adapters.openlineage import Lineage

log = logging.getLogger(__name__)


class LineageOfStages:
    """Sends one pair of events for each stage, below the flow run or command at work."""

    def __init__(self, model: Model, lineage: Lineage) -> None:
        self._model, self._lineage = model, lineage
        self._parent = model.home.parent or Parent(str(uuid4()), "run", datetime.now(UTC))

    def opened(self, turn: Turn) -> None:
        """Sends nothing: the stages name their parent."""

    def closed(self, ending: Ending) -> None:
        """Sends nothing."""

    def began(self, call: Call) -> None:
        """Send that a stage begins, with what it reads."""
        self._tell("START", call, call.began)

    def ended(self, call: Call, ending: Ending) -> None:
        """Send how a stage ended, with what it read and wrote."""
        failed: State = "ABORT" if ending.aborted else "FAIL"
        self._tell(failed if ending.error else "COMPLETE", call, ending.at, ending.result, ending.error)

    def _tell(self, state: State, call: Call, at: datetime, result: Any = None, error: str = "") -> None:
        run, flow = self._run(call), Flow()
        try:
            flow = flow_of(run.stage, self._model, call.args, result)
        except Exception as problem:  # the event says what is known without its datasets
            log.warning("lineage of %s: %s", run.job, problem)
        outputs: tuple[Dataset, ...] = flow.outputs if state == "COMPLETE" else ()
        self._lineage.add(Happening(state, at, run, flow.inputs, outputs, error))

    def _run(self, call: Call) -> StageRun:
        config = self._model.config
        stage = getattr(steps, call.stage, None)
        return StageRun(
            self._model.home.identity,
            config.model,
            call.stage,
            call.about,
            self._parent,
            call.repeated,
            None if call.as_of is None else call.as_of.replace(tzinfo=ZoneInfo(config.ingest.timezone)),
            (getattr(stage, "__doc__", None) or "").strip().split("\n")[0],
            config.governance.owner,
            query_of(config) if call.stage == "ingest" else "",
        )
