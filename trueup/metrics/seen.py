"""The parts of recorded results and decisions behind the figures. To read only these is several times as fast."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.records import from_json
from trueup.domain.types import Metric, Window
from trueup.ledger.entries import Entry


@dataclass(frozen=True)
class SeenCheck:
    """An earlier estimate beside the figure that came true: `error` is realised minus estimated."""

    error: float
    off: bool


@dataclass(frozen=True)
class SeenEstimate:
    """Performance that was estimated without labels; the deciding loss comes first."""

    metrics: tuple[Metric, ...]
    gate: tuple[Metric, ...] = ()
    worse: bool = False
    check: SeenCheck | None = None


@dataclass(frozen=True)
class SeenEffect:
    """How much of the change of the mean prediction one column explains."""

    column: str
    effect: float


@dataclass(frozen=True)
class SeenColumn:
    """The column of a check."""

    column: str


@dataclass(frozen=True)
class SeenDrift:
    """A comparison of inputs."""

    shifted: bool | None
    checks: tuple[SeenColumn, ...] = ()
    drifted: tuple[str, ...] = ()
    effects: tuple[SeenEffect, ...] = ()


@dataclass(frozen=True)
class Seen:
    """A monitoring result."""

    diagnosis: str
    findings: tuple[str, ...]
    champion: int | None
    skill: Skill | None
    champion_age_days: float | None = None
    landed: int = 0
    matured: int = 0
    metrics: tuple[Metric, ...] = ()
    drift: SeenDrift | None = None
    estimate: SeenEstimate | None = None


@dataclass(frozen=True)
class SeenRows:
    """The landed rows of a batch."""

    window: Window
    rows: int


@dataclass(frozen=True)
class SeenLanded:
    """A landed batch."""

    rows: SeenRows


@dataclass(frozen=True)
class SeenChecked:
    """A validated batch."""

    batch: SeenLanded
    status: str
    quarantined: int


@dataclass(frozen=True)
class SeenTurn:
    """A turn of the loop, or a retrain by itself: its batches, and the wall seconds of its stages."""

    batches: tuple[SeenChecked, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SeenModel:
    """A version."""

    version: int
    run_id: str


@dataclass(frozen=True)
class SeenEvaluation:
    """The figures of a judgement on the gate rows."""

    loss: str
    skill: Skill | None = None
    intervals: tuple[Metric, ...] = ()


@dataclass(frozen=True)
class SeenRollout:
    """A state of a rollout."""

    start: int | None
    step: int
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
class SeenDecision:
    """The body of a ledger entry."""

    model: SeenModel | None = None
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
    decision_id: str
    kind: str
    recorded_at: datetime  # wall clock, UTC
    as_of: datetime
    signed: bool
    body: SeenDecision

    @classmethod
    def of(cls, entry: Entry) -> Line:
        """The short form of an entry."""
        body = from_json(SeenDecision, entry.text)
        if body.promotion is None:
            body = replace(body, evaluation=None)  # only that of a champion is told
        signed = entry.signature is not None
        return cls(entry.seq, entry.decision_id, entry.kind, entry.recorded_at, entry.as_of, signed, body)
