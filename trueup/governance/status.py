"""A model's present state: champion, age, last diagnosis, open approvals, probation, last decisions; and past champions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from trueup.domain.monitoring.estimates.estimate import Estimate
from trueup.domain.types import Status, Window, overall
from trueup.governance import probation
from trueup.governance.approval import expires_at, undecided
from trueup.governance.rollouts import UnderWay, under_way
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.ledger.record import Approver, FittedOn, Record
from trueup.model import MONITOR, Model

_FORM_WORDS = {Status.FAIL: "failed its checks", Status.INCONCLUSIVE: "could not be checked"}


@dataclass(frozen=True)
class _Newest:
    """The part of the last monitoring result that is shown."""

    diagnosis: str
    reasons: tuple[str, ...]
    estimate: Estimate | None = None


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
    onnx: str = ""  # its ONNX form in words, if one was checked

    @classmethod
    def of(cls, e: Entry) -> DecisionSummary:
        """The summary of an entry."""
        body = e.body
        reasons, form = tuple(body.reasons), form_words(body)
        return cls(e.seq, e.recorded_at, e.model, e.as_of, e.kind, body.reason, body.version, reasons, e.hash, form)


def form_words(body: Record) -> str:
    """The ONNX form of a version in words, with the reasons if it did not pass its checks; empty if none was checked."""
    if body.export is None or (form := body.form) is None:
        return ""
    status, size = overall(form.verdicts), "none" if form.bytes is None else f"{form.bytes / 1024:,.1f} KiB"
    if status is Status.PASS:
        return f"ONNX form: {size}, passed its checks"
    reasons = "; ".join(reason for v in form.verdicts if v.status is status for reason in v.reasons)
    informs = "" if body.export.required else " (it informs; `export.required` is off)"
    return f"ONNX form: {size}, {_FORM_WORDS[status]}: {reasons}{informs}"


@dataclass(frozen=True)
class OpenApproval:
    """A challenger that waits for a person."""

    id: int
    version: int | None
    age_hours: float
    expires_at: datetime
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class OpenRollout:
    """A challenger that meets online traffic."""

    id: int
    version: int
    step: int
    share: float
    paused: bool
    deadline: datetime
    says: str

    @classmethod
    def of(cls, current: UnderWay) -> OpenRollout:
        """The rollout in short; its figures are in `trueup rollout status`."""
        state, words = current.state, current.words
        return cls(current.start.seq, state.version, state.step, current.share, state.paused, current.deadline, words)


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
    estimate: Estimate | None  # of performance on the last batch, without its labels
    approvals: list[OpenApproval]
    probation: probation.Standing | None
    rollout: OpenRollout | None
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
    newest = model.home.store.last_result(model.config.model, MONITOR, _Newest)
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
        estimate=newest.body.estimate if newest else None,
        approvals=approvals(model),
        probation=None if current is None else probation.standing(model, current),
        rollout=None if (tried := under_way(model)) is None else OpenRollout.of(tried),
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
