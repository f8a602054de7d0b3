"""Lineage of the loop: around each stage, events with what it reads and writes. They never change or end a run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from trueup.domain.lineage import Dataset, Happening, Parent, StageRun, State
from trueup.domain.types import Batch
from trueup.errors import NotEnoughData
from trueup.handoffs import Attempt, Checked
from trueup.loop import steps
from trueup.loop.lineage_datasets import Flow, flow_of, query_of
from trueup.model import Model

if TYPE_CHECKING:
    from trueup.adapters.openlineage import Lineage

log = logging.getLogger(__name__)


class Followed:
    """Steps of the loop with lineage events: one pair for each stage, whatever retries are within it."""

    def __init__(self, do: Any, model: Model, lineage: Lineage) -> None:
        self._do, self._model, self._lineage = do, model, lineage
        self._parent = model.home.parent or Parent(str(uuid4()), "run", datetime.now(UTC))
        self._runs = Counter[tuple[str, str]]()

    def __getattr__(self, name: str) -> Any:
        return partial(self._follow, name, getattr(self._do, name))

    def _follow(self, name: str, stage: Callable[..., Any], *args: Any) -> Any:
        run = self._run(name, args)
        self._tell("START", run, args)
        try:
            result = stage(*args)
        except NotEnoughData:  # no error: the stage found too little data
            self._tell("COMPLETE", run, args)
            raise
        except BaseException as error:
            state: State = "FAIL" if isinstance(error, Exception) else "ABORT"
            self._tell(state, run, args, error=str(error) or type(error).__name__)
            raise
        self._tell("COMPLETE", run, args, result)
        return result

    def _run(self, name: str, args: tuple[Any, ...]) -> StageRun:
        about, as_of = _about(args)
        config = self._model.config
        stage = getattr(steps, name, None)
        run = StageRun(
            self._model.home.identity,
            config.model,
            name,
            about,
            self._parent,
            self._runs[name, about],
            None if as_of is None else as_of.replace(tzinfo=ZoneInfo(config.ingest.timezone)),
            (getattr(stage, "__doc__", None) or "").strip().split("\n")[0],
            config.governance.owner,
            query_of(config) if name == "ingest" else "",
        )
        self._runs[name, about] += 1
        return run

    def _tell(self, state: State, run: StageRun, args: tuple[Any, ...], result: Any = None, error: str = "") -> None:
        flow = Flow()
        try:
            flow = flow_of(run.stage, self._model, args[1:], result)
        except Exception as problem:  # what is known of a dataset is not worth a run
            log.warning("lineage of %s: %s", run.job, problem)
        outputs: tuple[Dataset, ...] = flow.outputs if state == "COMPLETE" else ()
        self._lineage.add(Happening(state, datetime.now(UTC), run, flow.inputs, outputs, error))


def followed(do: Any, model: Model) -> Any:
    """The steps with lineage, if the home has an address for it; once, however often it is asked for."""
    if isinstance(do, Followed) or (lineage := model.home.lineage) is None:
        return do
    return Followed(do, model, lineage)


def _about(args: tuple[Any, ...]) -> tuple[str, datetime | None]:
    """What a stage is run for, in words, and its `as_of`, if it has one."""
    moments = [a if isinstance(a, datetime) else a.as_of for a in args if isinstance(a, datetime | Attempt)]
    as_of = moments[-1] if moments else None
    for part in args:
        batch = part.batch if isinstance(part, Checked) else part
        if isinstance(batch, Batch):
            return f"{batch.window} r{batch.rows.revision}", as_of
    runs = [found for part in args if isinstance(found := getattr(part, "run_id", None), str)]
    return " ".join([*runs, *([as_of.isoformat()] if as_of is not None else [])]), as_of
