"""Events: one frozen model per topic, and ids that make repeated delivery harmless.

An event concerns one model; in Prefect its resource is `trueup.model.<model>`. `docs/events.md` is generated from here.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from trueup.domain.types import Window

_NAMESPACE = uuid.UUID("6f0b8f5c-5f5e-5b1e-9a0e-1c5d7f1d2a10")
PREFIX = "trueup.model."
NO_MODEL = "-"  # the model's name in an event without a model


class Payload(BaseModel):
    """The fields of every event: the model, and the moment of the model's own clock."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    topic: ClassVar[str]

    model: str = Field(description="The model's name.")
    as_of: datetime = Field(description="ISO 8601, in the model's time zone, without offset.")


class BatchPayload(Payload):
    """An event about one batch."""

    batch: str = Field(description="The batch's window as an ISO 8601 interval, `start/end`.")


class DataArrived(BatchPayload):
    """A batch is available in the source. Only a feed or a sensor sends it, never ingest."""

    topic = "trueup.data.arrived"


class DataBroken(BatchPayload):
    """A batch failed validation: it is kept, but neither scored nor used for training."""

    topic = "trueup.data.broken"
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(description="The failures, in words.")


class DataUnusual(BatchPayload):
    """A batch differs from those before it, such as by another unit. It is scored, and a retrain on it waits."""

    topic = "trueup.data.unusual"
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(description="The unusual properties, in words.")


class DependenciesChanged(BatchPayload):
    """Packages or the columns of the source differ from those of the batch before. The batch is used as any other."""

    topic = "trueup.dependencies.changed"
    reasons: list[str] = Field(description="The changes, in words.")


class BatchMissing(BatchPayload):
    """A batch is not complete although it is due by the calendar and `ingest.late_after`."""

    topic = "trueup.batch.missing"
    due: datetime = Field(description="When it was due.")
    newest: datetime | None = Field(description="The end of the source's complete data; null for an empty source.")


class ModelSkewed(BatchPayload):
    """Servers used other features than those computed offline for the same rows, in more rows than `serve.max_skew`."""

    topic = "trueup.model.skewed"
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(description="How many rows, and which features, in words.")


class ModelEstimatedDecay(BatchPayload):
    """Without labels, the champion is estimated to be worse than its limit. Nothing is retrained; its labels decide."""

    topic = "trueup.model.estimated_decay"
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(
        description="The estimate, the same at the gate, and how many labels are missing, in words."
    )


class ModelShifted(BatchPayload):
    """The inputs moved, but the model's skill did not. No retrain follows, unless `retrain.findings` includes it."""

    topic = "trueup.model.shifted"
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(description="The diagnosis, in words.")


class _Wanted(BatchPayload):
    revision: int = Field(description="The batch's revision.")
    reasons: list[str] = Field(description="The diagnosis, in words.")


class ModelDecayed(_Wanted):
    """The champion lost its skill. `run --retrain event` sends this and leaves the retrain to the receivers."""

    topic = "trueup.model.decayed"
    reason: Literal["decayed"] = Field("decayed", description="The reason to pass to `retrain`.")


class ModelStale(_Wanted):
    """The champion is old. `run --retrain event` sends this and leaves the retrain to the receivers."""

    topic = "trueup.model.stale"
    reason: Literal["stale"] = Field("stale", description="The reason to pass to `retrain`.")


class ModelDue(_Wanted):
    """A retrain is due for another reason: shifted inputs (`retrain.findings`), enough new labels, or the calendar."""

    topic = "trueup.model.due"
    reason: Literal["shifted", "grown", "schedule"] = Field(description="The reason to pass to `retrain`.")


class _Decided(Payload):
    decision: str = Field(description="The decision's id in the ledger.")
    version: int | None = Field(None, description="Version in the registry.")
    reasons: list[str] = Field(description="The decision's reasons, in words.")


class ModelPromoted(_Decided):
    """A challenger became the champion."""

    topic = "trueup.model.promoted"


class ModelRejected(_Decided):
    """A challenger was rejected: by the gates, by a person, or because its rollout exceeded a limit."""

    topic = "trueup.model.rejected"


class ModelRolledBack(_Decided):
    """An earlier version is the champion again."""

    topic = "trueup.model.rolled_back"


class ApprovalRequested(_Decided):
    """A challenger passed the gates and waits for a person."""

    topic = "trueup.model.approval_requested"


class RolloutStarted(_Decided):
    """A challenger that passed meets online traffic in shadow; the champion stays for now."""

    topic = "trueup.rollout.started"


class _Rollout(_Decided):
    step: int = Field(description="The step: 0 is the shadow, then the steps of `promote.rollout.canary`.")
    share: float = Field(description="Share of the keys that the challenger answers.")


class RolloutAdvanced(_Rollout):
    """A challenger reached the next step of its rollout."""

    topic = "trueup.rollout.advanced"


class RolloutPaused(_Rollout):
    """A person paused a rollout: it advances no further, and is still rolled back when a limit is exceeded."""

    topic = "trueup.rollout.paused"


class RolloutResumed(_Rollout):
    """A person let a paused rollout go on."""

    topic = "trueup.rollout.resumed"


class RolloutEnded(_Rollout):
    """A rollout ended: the challenger is the champion, or the old champion stays."""

    topic = "trueup.rollout.ended"
    outcome: Literal["promoted", "rolled_back", "aborted", "inconclusive", "stale"] = Field(
        description="Why it ended: all steps passed, a limit was exceeded, a person ended it, its deadline passed, or the champion changed."
    )
    rule: str | None = Field(
        description="The exceeded limit: errors, non_finite, latency, shift or loss; null for other outcomes."
    )
    figure: float | None = Field(description="The figure that exceeded it.")
    limit: float | None = Field(description="The limit.")
    counts: dict[str, float] = Field(description="The counts and other figures behind it, by name.")


class RetrainRefused(BatchPayload):
    """A retrain was requested and not started."""

    topic = "trueup.retrain.refused"
    reason: str = Field(
        description="The reason of the request: decayed, stale, shifted, grown, schedule, manual or first."
    )
    rule: str = Field(
        description="The rule: running, rollout, past, future, cooldown, budget, rejections or same_data."
    )
    reasons: list[str] = Field(description="The rule in words.")


class AutomationFailed(Payload):
    """An automation of the Prefect server failed, for example because a payload fits no parameter. It tries only once.

    `model` and `as_of` are those of the triggering event; if unknown, they are `-` and the moment of the failure.
    """

    topic = "trueup.automation.failed"
    automation: str = Field(description="Its name on the server.")
    action: str = Field(description="The failed action, such as `run-deployment`.")
    occurred: datetime = Field(description="When it failed, by the wall clock, with offset.")
    event: str | None = Field(None, description="The topic of the triggering event, if known.")
    reasons: list[str] = Field(description="The server's message.")


class FlowDied(Payload):
    """A flow run's process died, and the run is not restarted any more, or its hooks notified nobody.

    `model` is the run's model, and `-` for a flow for all models; `as_of` is the moment of the death by the wall clock.
    """

    topic = "trueup.flow.died"
    flow: str = Field(description="The flow's name.")
    run: str = Field(description="The flow run's name.")
    flow_run: str = Field(description="The flow run's id on the Prefect server.")
    occurred: datetime = Field(description="When it was found dead, by the wall clock, with offset.")
    begun_again: bool = Field(description="Whether it is restarted.")
    reasons: list[str] = Field(description="How the death was noticed, and what follows.")


class ServingFailed(Payload):
    """Servers could not load what was published about a model. They go on with what they had loaded before."""

    topic = "trueup.serving.failed"
    reasons: list[str] = Field(description="The failure, in words.")


DECIDED: dict[str, type[_Decided]] = {  # by kind of ledger entry; other kinds have no event
    "promoted": ModelPromoted,
    "override": ModelPromoted,
    "rejected": ModelRejected,
    "rolled_back": ModelRolledBack,
    "pending": ApprovalRequested,
    "rollout": RolloutStarted,
}

PAYLOADS: tuple[type[Payload], ...] = (
    DataArrived,
    DataBroken,
    DataUnusual,
    DependenciesChanged,
    BatchMissing,
    ModelSkewed,
    ModelEstimatedDecay,
    ModelShifted,
    ModelDecayed,
    ModelStale,
    ModelDue,
    ModelPromoted,
    ModelRejected,
    ModelRolledBack,
    ApprovalRequested,
    RolloutStarted,
    RolloutAdvanced,
    RolloutPaused,
    RolloutResumed,
    RolloutEnded,
    RetrainRefused,
    AutomationFailed,
    FlowDied,
    ServingFailed,
)


@dataclass(frozen=True)
class Message:
    """An event that waits in the outbox, or has been delivered."""

    id: int
    event_id: str
    seq: int | None  # of the event's decision, if it has one
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
    """The id of an event: equal for the same topic, model and key, so that a repetition changes nothing.

    >>> event_id("trueup.model.decayed", "toy", "a") == event_id("trueup.model.decayed", "toy", "a")
    True
    """
    return str(uuid.uuid5(_NAMESPACE, f"{topic}\n{model}\n{key}"))


def resource_id(model: str) -> str:
    """The id of an event's resource in Prefect."""
    return PREFIX + model


def interval(window: Window) -> str:
    """A window as an ISO 8601 interval.

    >>> interval(Window(datetime(2013, 3, 1), datetime(2013, 4, 1)))
    '2013-03-01T00:00:00/2013-04-01T00:00:00'
    """
    return f"{window.start.isoformat()}/{window.end.isoformat()}"
