"""Traces of the loop: a span for a turn, and one below it for each stage."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from trueup.handoffs import Cycle, Decided, Observed
from trueup.loop.following.followed import Call, Ending, Turn
from trueup.model import Model

if TYPE_CHECKING:
    from trueup.adapters.telemetry import Attributes, Traces

_WITHOUT_PREFECT = "command"  # the parent's job of a run that is no flow run


class TraceOfTurn:
    """Makes the spans of one turn."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces
        self._turn: Any = None
        self._token: Any = None
        self._stages = dict[int, Any]()  # by the call

    def opened(self, turn: Turn) -> None:
        """Begin the span of the turn, and let spans of other libraries be below it."""
        config = turn.model.config
        began = datetime.now(ZoneInfo("UTC"))
        about = {"trueup.model": config.model, "trueup.run": turn.what, "trueup.as_of": _local(turn.model, turn.as_of)}
        self._turn = self._traces.begin(f"{turn.what} {config.model}", {**about, **_flow_run(turn.model)}, began)
        self._token = self._traces.enter(self._turn)

    def began(self, call: Call) -> None:
        """Begin the span of a stage."""
        about: dict[str, str | int] = {"trueup.stage": call.stage}
        if call.batch is not None:
            rows = call.batch.rows
            about |= {"trueup.batch": str(rows.window), "trueup.revision": rows.revision, "trueup.rows": rows.rows}
        self._stages[id(call)] = self._traces.begin(call.stage, about, call.began, self._turn)

    def ended(self, call: Call, ending: Ending) -> None:
        """End the span of a stage."""
        self._traces.end(self._stages.pop(id(call)), {}, ending.error, ending.at)

    def closed(self, ending: Ending) -> None:
        """End the span of the turn, with its diagnosis and decision."""
        self._traces.leave(self._token)
        self._traces.end(self._turn, _result(ending.result), ending.error, ending.at)


def _flow_run(model: Model) -> Attributes:
    """The flow run of Prefect that the turn belongs to, if there is one."""
    parent = model.home.parent
    return {} if parent is None or parent.job == _WITHOUT_PREFECT else {"prefect.flow_run.id": parent.run_id}


def _local(model: Model, moment: datetime) -> str:
    return moment.replace(tzinfo=ZoneInfo(model.config.ingest.timezone)).isoformat()


def _result(result: Any) -> Attributes:
    """What a turn found and decided."""
    about: dict[str, str | int | tuple[str, ...]] = {}
    observed = result.observed if isinstance(result, Cycle) else (result,) if isinstance(result, Observed) else ()
    if observed:
        newest = max(observed, key=lambda o: o.window)
        about |= {"trueup.diagnosis": newest.diagnosis, "trueup.findings": newest.findings}
    if isinstance(result, Cycle):
        about["trueup.batches"] = len(result.batches)
    decided = result.decided if isinstance(result, Cycle) else result
    if isinstance(decided, Decided):
        about |= {"trueup.decision": decided.outcome, "trueup.reasons": decided.reasons}
        for name, value in (("trueup.version", decided.version), ("trueup.ledger_entry", decided.sequence)):
            if value is not None:
                about[name] = value
    return about
