"""What others are told: one frozen model a topic, and the id that makes telling it twice harmless.

An event concerns one model; to Prefect its resource is `trueup.model.<model>`. `docs/events.md` is generated from here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from trueup.domain.data.types import Window

_NAMESPACE = uuid.UUID("6f0b8f5c-5f5e-5b1e-9a0e-1c5d7f1d2a10")
PREFIX = "trueup.model."
NO_MODEL = "-"  # the name in an event that concerns none; a config cannot have it


class Payload(BaseModel):
    """What every event says: which model, and the moment of the model's own clock at which it was found out."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    topic: ClassVar[str]

    model: str = Field(description="The model's name.")
    as_of: datetime = Field(description="ISO 8601, in the model's time zone, without offset.")


class BatchPayload(Payload):
    """An event about one batch."""

    batch: str = Field(description="The batch's window as an ISO 8601 interval, `start/end`.")


class DataArrived(BatchPayload):
    """A source says that a batch is there. Only a feed or a sensor raises it, never ingest."""

    topic = "trueup.data.arrived"


class DataBroken(BatchPayload):
    """A batch failed validation: it is kept, neither scored nor learned from."""

    topic = "trueup.data.broken"
    revision: int = Field(description="Which landing of the batch.")
    reasons: list[str] = Field(description="What failed, in words.")


class DataUnusual(BatchPayload):
    """A batch is not as those before it: another unit, say, or an empty column. It is scored, and a retrain on it waits."""

    topic = "trueup.data.unusual"
    revision: int = Field(description="Which landing of the batch.")
    reasons: list[str] = Field(description="What is unusual, in words.")


class BatchMissing(BatchPayload):
    """A batch is not complete although the calendar and `ingest.late_after` say that it should be."""

    topic = "trueup.batch.missing"
    due: datetime = Field(description="By when it should have been there.")
    newest: datetime | None = Field(description="Until when the source's data are complete; null for an empty source.")


class ModelShifted(BatchPayload):
    """The inputs moved, the model's skill did not: nothing is retrained, unless `retrain.findings` says so."""

    topic = "trueup.model.shifted"
    revision: int = Field(description="Which landing of the batch.")
    reasons: list[str] = Field(description="The diagnosis, in words.")


class _Wanted(BatchPayload):
    revision: int = Field(description="Which landing of the batch.")
    reasons: list[str] = Field(description="The diagnosis, in words.")


class ModelDecayed(_Wanted):
    """The champion lost its skill; `run --retrain event` says so and leaves the retrain to whoever listens."""

    topic = "trueup.model.decayed"
    reason: Literal["decayed"] = Field("decayed", description="What to give to `retrain` as its reason.")


class ModelStale(_Wanted):
    """The champion is old; `run --retrain event` says so and leaves the retrain to whoever listens."""

    topic = "trueup.model.stale"
    reason: Literal["stale"] = Field("stale", description="What to give to `retrain` as its reason.")


class ModelDue(_Wanted):
    """Something else asks for a retrain: shifted inputs (`retrain.findings`), new labels enough, or the calendar."""

    topic = "trueup.model.due"
    reason: Literal["shifted", "grown", "schedule"] = Field(description="What to give to `retrain` as its reason.")


class _Decided(Payload):
    decision: str = Field(description="The decision's id in the ledger.")
    version: int | None = Field(None, description="Version in the registry.")
    reasons: list[str] = Field(description="The decision's reasons, in words.")


class ModelPromoted(_Decided):
    """A challenger became the champion."""

    topic = "trueup.model.promoted"


class ModelRejected(_Decided):
    """A challenger was refused by the gates."""

    topic = "trueup.model.rejected"


class ModelRolledBack(_Decided):
    """An earlier version was put back in office."""

    topic = "trueup.model.rolled_back"


class ApprovalRequested(_Decided):
    """A challenger passed the gates and waits for a person."""

    topic = "trueup.model.approval_requested"


class RetrainRefused(BatchPayload):
    """A retrain was asked for and not started."""

    topic = "trueup.retrain.refused"
    reason: str = Field(
        description="The reason it was asked for: decayed, stale, shifted, grown, schedule, manual or first."
    )
    rule: str = Field(
        description="What held it back: running, past, future, cooldown, budget, rejections or same_data."
    )
    reasons: list[str] = Field(description="The same in words.")


class AutomationFailed(Payload):
    """An automation of the Prefect server could not act: a payload that fits no parameter, say. It tries only once.

    `model` is that of the event which set it off, and `as_of` that event's; where it is not known they are `-` and the
    moment of the failure.
    """

    topic = "trueup.automation.failed"
    automation: str = Field(description="Its name on the server.")
    action: str = Field(description="What it was to do, such as `run-deployment`.")
    occurred: datetime = Field(description="When it failed, by the wall clock, with offset.")
    event: str | None = Field(None, description="The topic of the event that set it off, where it is known.")
    reasons: list[str] = Field(description="Why, in the server's words.")


class FlowDied(Payload):
    """A flow run's process died without a word, or for the last time: it is not begun again any more.

    `model` is the one that the run was for, and `-` for a flow that is for all; `as_of` is the moment of the death by the
    wall clock.
    """

    topic = "trueup.flow.died"
    flow: str = Field(description="The flow's name.")
    run: str = Field(description="The flow run's name.")
    flow_run: str = Field(description="The flow run's id on the Prefect server.")
    occurred: datetime = Field(description="When it was found dead, by the wall clock, with offset.")
    begun_again: bool = Field(description="Whether it is begun again.")
    reasons: list[str] = Field(description="How it was found out, and what happens now.")


DECIDED: dict[str, type[_Decided]] = {  # by kind of ledger entry; of other kinds nobody is told
    "promoted": ModelPromoted,
    "override": ModelPromoted,
    "rejected": ModelRejected,
    "rolled_back": ModelRolledBack,
    "pending": ApprovalRequested,
}

PAYLOADS: tuple[type[Payload], ...] = (
    DataArrived,
    DataBroken,
    DataUnusual,
    BatchMissing,
    ModelShifted,
    ModelDecayed,
    ModelStale,
    ModelDue,
    ModelPromoted,
    ModelRejected,
    ModelRolledBack,
    ApprovalRequested,
    RetrainRefused,
    AutomationFailed,
    FlowDied,
)


@dataclass(frozen=True)
class Message:
    """An event that waits in the outbox, or has been delivered."""

    id: int
    event_id: str
    seq: int | None  # of the decision it tells of, where it tells of one
    model: str
    topic: str
    payload: dict[str, Any]
    created_at: datetime

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Message:
        """Read a row of `outbox`."""
        return cls(
            row["id"],
            row["event_id"],
            row["seq"],
            row["model"],
            row["topic"],
            json.loads(row["payload"]),
            datetime.fromisoformat(row["created_at"]),
        )


def event_id(topic: str, model: str, key: str) -> str:
    """The id of an event: the same for the same topic, model and key, so that repeating it changes nothing.

    >>> event_id("trueup.model.decayed", "toy", "a") == event_id("trueup.model.decayed", "toy", "a")
    True
    """
    return str(uuid.uuid5(_NAMESPACE, f"{topic}\n{model}\n{key}"))


def resource_id(model: str) -> str:
    """What Prefect calls the thing that an event concerns."""
    return PREFIX + model


def interval(window: Window) -> str:
    """A window as an ISO 8601 interval.

    >>> interval(Window(datetime(2013, 3, 1), datetime(2013, 4, 1)))
    '2013-03-01T00:00:00/2013-04-01T00:00:00'
    """
    return f"{window.start.isoformat()}/{window.end.isoformat()}"
