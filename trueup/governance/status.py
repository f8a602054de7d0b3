"""A model's present state: champion, age, last diagnosis, open approvals, probation, last decisions; and past champions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.domain.monitoring.result import Look
from trueup.domain.types import Window
from trueup.governance import probation
from trueup.governance.approval import expires_at, undecided
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.ledger.record import Approver, FittedOn
from trueup.model import MONITOR, Model


@dataclass(frozen=True)
class DecisionSummary:
    """A ledger entry in short."""

    sequence: int
    recorded_at: datetime
    model: str
    as_of: datetime
    outcome: str
    reason: str | None
    version: int | None
    reasons: tuple[str, ...]
    hash: str

    @classmethod
    def of(cls, e: Entry) -> DecisionSummary:
        """The summary of an entry."""
        body = e.body
        return cls(
            e.seq, e.recorded_at, e.model, e.as_of, e.kind, body.reason, body.version, tuple(body.reasons), e.hash
        )


@dataclass(frozen=True)
class OpenApproval:
    """A challenger that waits for a person."""

    id: int
    version: int | None
    age_hours: float
    expires_at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """One model's state."""

    model: str
    about: str
    champion: int | None
    champion_age_days: float | None  # at the last monitoring
    trained_until: datetime | None
    alias_agrees: bool | None
    last_batch: str | None
    diagnosis: str | None
    reasons: tuple[str, ...]
    approvals: list[OpenApproval]
    probation: probation.Standing | None
    decisions: list[DecisionSummary]


@dataclass(frozen=True)
class ChampionThen:
    """The champion at a moment of the model's own clock; `until` is None for the present one."""

    model: str
    at: datetime
    champion: int
    epoch: int
    manifest_digest: str
    since: datetime
    until: datetime | None
    trained: FittedOn
    judged_on: Window
    approver: Approver | None
    decision: DecisionSummary


@dataclass(frozen=True)
class NoChampionThen:
    """No version had been promoted yet."""

    model: str
    at: datetime
    champion: None = None


def overview(model: Model, last: int = 3) -> Overview:
    """One model's state. Writes nothing: the next run closes what is too late and repairs the alias."""
    current = model.champion()
    agrees = (
        None if current is None else model.home.registry.alias_agrees(model.config.registered_name, current.version)
    )
    newest = model.home.store.last_result(model.config.model, MONITOR, Look)
    age = None if current is None or newest is None else (newest.as_of - current.trained_until) / timedelta(days=1)
    return Overview(
        model=model.config.model,
        about=model.config.about,
        champion=current.version if current else None,
        champion_age_days=None if age is None else round(age, 1),
        trained_until=current.trained_until if current else None,
        alias_agrees=agrees,
        last_batch=str(newest.window) if newest else None,
        diagnosis=newest.body.diagnosis if newest else None,
        reasons=newest.body.reasons if newest else (),
        approvals=approvals(model),
        probation=None if current is None else probation.standing(model, current),
        decisions=decisions(model.home, model.config.model, last),
    )


def approvals(model: Model) -> list[OpenApproval]:
    """Challengers that wait for a person and can still be decided, oldest first."""
    return [
        OpenApproval(
            e.seq,
            e.body.version,
            round((model.home.now() - e.recorded_at) / timedelta(hours=1), 1),
            expires_at(e),
            e.body.reasons,
        )
        for e, late in undecided(model)
        if late is None
    ]


def standing_at(model: Model, at: datetime) -> ChampionThen | NoChampionThen:
    """The champion at a moment of the model's own clock, and its decision; from the ledger alone."""
    name, ledger = model.config.model, model.home.ledger
    then = ledger.champion_at(name, at)
    if then is None:
        return NoChampionThen(name, at)
    after, body = ledger.champion(name, then.epoch + 1), then.entry.challenge
    return ChampionThen(
        model=name,
        at=at,
        champion=then.version,
        epoch=then.epoch,
        manifest_digest=then.manifest_digest,
        since=then.entry.as_of,
        until=after.entry.as_of if after else None,
        trained=body.model.fitted_on,
        judged_on=body.gate,
        approver=body.approver,
        decision=DecisionSummary.of(then.entry),
    )


def decisions(home: Home, model: str | None, last: int) -> list[DecisionSummary]:
    """The newest decisions, newest first."""
    return [DecisionSummary.of(entry) for entry in reversed(home.ledger.entries(model, limit=last))]
