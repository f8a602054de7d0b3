"""The parts of recorded results and decisions that the pages show. To read only these is several times as fast."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.records import from_json
from trueup.domain.retraining.limits import Step
from trueup.domain.types import Metric, Window
from trueup.ledger.entries import Entry

CLOSED, ROLLOUT_CHANGE = ":closed", ":rollout:"  # in the ids of entries that follow another one


@dataclass(frozen=True)
class SeenCheck:
    """An earlier estimate beside the figure that came true."""

    estimated: float
    realised: float
    off: bool
    words: str = ""


@dataclass(frozen=True)
class SeenEstimate:
    """Performance that was estimated without labels; the deciding loss comes first."""

    method: str
    rows: int
    metrics: tuple[Metric, ...]
    worse: bool = False
    reason: str = ""
    check: SeenCheck | None = None
    doubts: str = ""  # why not to rely on it

    @property
    def off(self) -> bool:
        """Whether its labels contradict it, or those of the newest batch with labels did."""
        return bool(self.doubts) if self.check is None else self.check.off


@dataclass(frozen=True)
class SeenEffect:
    """How much of the predictions' change one column explains."""

    column: str
    effect: float
    words: str = ""


@dataclass(frozen=True)
class SeenDrift:
    """The result of a comparison of inputs, without its checks."""

    shifted: bool | None
    reason: str
    drifted: tuple[str, ...] = ()
    effects: tuple[SeenEffect, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A monitoring result, as the fleet shows it."""

    diagnosis: str
    findings: tuple[str, ...]
    reasons: tuple[str, ...]
    champion: int | None
    skill: Skill | None
    champion_age_days: float | None = None
    matured: int = 0
    metrics: tuple[Metric, ...] = ()
    drift: SeenDrift | None = None
    estimate: SeenEstimate | None = None


@dataclass(frozen=True)
class SeenColumn:
    """One check of one column."""

    column: str
    check: str
    value: float
    limit: float | None
    drifted: bool


@dataclass(frozen=True)
class SeenChecks(SeenDrift):
    """A comparison of inputs with its checks."""

    checks: tuple[SeenColumn, ...] = ()


@dataclass(frozen=True)
class SeenBatch(Seen):
    """A monitoring result, as the page of its model shows it."""

    drift: SeenChecks | None = None


@dataclass(frozen=True)
class SeenTurn:
    """The cost of a turn of the loop, in seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SeenModel:
    """A version, and the rows that it was fitted on."""

    version: int
    run_id: str
    trained_until: datetime


@dataclass(frozen=True)
class SeenTrigger:
    """Why a challenger was trained."""

    reason: str


@dataclass(frozen=True)
class SeenRollout:
    """A state of a rollout."""

    start: int | None
    step: int
    paused: bool
    expected_epoch: int
    version: int
    rules: dict[str, Any]
    ended: str | None = None


@dataclass(frozen=True)
class SeenTerms:
    """The terms of an approval."""

    expected_epoch: int
    expires_after_seconds: float


@dataclass(frozen=True)
class SeenPromotion:
    """The version that an entry made the champion."""

    version: int
    epoch: int


@dataclass(frozen=True)
class SeenEvaluation:
    """The figures of a judgement on the gate rows."""

    loss: str
    skill: Skill | None = None
    intervals: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class SeenDecision:
    """The body of a ledger entry, in short."""

    reasons: tuple[str, ...] = ()
    trigger: SeenTrigger | None = None
    model: SeenModel | None = None
    gate: Window | None = None
    attempt: str | None = None
    received: dict[str, Any] | None = None
    rollout: SeenRollout | None = None
    approval: SeenTerms | None = None
    promotion: SeenPromotion | None = None
    evaluation: SeenEvaluation | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Line:
    """A ledger entry in short."""

    seq: int
    model: str
    decision_id: str
    kind: str
    recorded_at: datetime
    as_of: datetime
    body: SeenDecision

    @classmethod
    def of(cls, entry: Entry) -> Line:
        """The short form of an entry."""
        body = from_json(SeenDecision, entry.text)
        return cls(entry.seq, entry.model, entry.decision_id, entry.kind, entry.recorded_at, entry.as_of, body)

    @property
    def version(self) -> int | None:
        """The version that the entry is about."""
        if self.body.model is not None:
            return self.body.model.version
        return None if self.body.rollout is None else self.body.rollout.version

    @property
    def word(self) -> str:
        """The kind of the entry in words."""
        return self.kind.replace("_", " ")

    @cached_property
    def step(self) -> Step:
        """The part of the entry that the limits of retrains depend on."""
        body = self.body
        run = body.model.run_id if body.model and body.received is None else None
        return Step(self.kind, self.as_of, run, body.gate.end if body.gate else None, body.attempt)
