"""Approval: a challenger that passed waits in the ledger until a person decides, or until it is too late.

The pending entry is the whole state, so everything works without a server. One more entry closes it, with an id that
follows from its own: the ledger admits one entry an id, so of two people who decide at once one wins. `settle` closes
approvals that are too late (expired, overtaken, judged against a champion that was replaced).
"""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Literal

from trueup.config.durations import write_duration
from trueup.config.schema import ModelConfig
from trueup.errors import AlreadyDecided, LedgerError, RegistryUnavailable, StaleDecision, UsageError
from trueup.governance.alias import align
from trueup.governance.decision_record import epochs
from trueup.governance.four_eyes import require_another
from trueup.governance.rollouts import ROLLOUT, end_of, first_state, require_none, rules_for
from trueup.handoffs import Decided
from trueup.home import Home
from trueup.ledger.entries import Decision, Entry, Promotion, of_decision
from trueup.ledger.record import Approval, Approver, FourEyes, Record
from trueup.model import Model

PENDING: Literal["pending"] = "pending"
_ID = re.compile(r"[!-~](?:[ -~]{0,398}[!-~])?")  # a number, or a decision's own id
_STALE, _EXPIRED, _SUPERSEDED = "stale", "expired", "superseded"


def terms(config: ModelConfig, epoch: int, run_id: str) -> Record:
    """The parts of a pending entry beside a promotion's body: the champion it would replace, its term, the judged run."""
    wait = config.promote.approval.expires_after.total_seconds()
    return Record(approval=Approval(expected_epoch=epoch, expires_after_seconds=wait, run_id=run_id))


def decided(entry: Entry) -> Decided:
    """A recorded decision, as the flows hand it on."""
    return Decided(
        outcome=entry.kind,  # type: ignore[arg-type]  # the ledger's word is one of ours
        reasons=entry.body.reasons,
        version=entry.body.version,
        sequence=entry.seq,
        verdicts=entry.body.verdicts,
    )


def resolution(home: Home, pending: Entry) -> Entry | None:
    """The entry that closed a pending one; None while it is open, and for entries of another kind."""
    return home.ledger.find(_closing_id(pending)) if pending.kind == PENDING else None


def final(home: Home, entry: Entry) -> Entry:
    """The entry that a decision has led to so far: of a pending one its closing, then the end of its rollout."""
    closed = resolution(home, entry) or entry
    return end_of(home, closed) or closed


def pending(home: Home, identity: str) -> Entry:
    """The pending entry of a sequence number or decision id. Raises UsageError."""
    if not _ID.fullmatch(identity):
        raise UsageError(f"{identity[:80]!a} is not a ledger entry id; `trueup status` lists the open approvals")
    entry = (
        home.ledger.entry(int(identity)) if identity.isdecimal() and len(identity) < 19 else home.ledger.find(identity)
    )
    if entry is None:
        raise UsageError(f"no ledger entry {identity}; `trueup status` lists the open approvals")
    if entry.kind != PENDING:
        raise UsageError(
            f"ledger entry {entry.seq} is no open approval: {entry.model} was {entry.kind} there; "
            "`trueup status` lists the open approvals"
        )
    return entry


def open_approvals(model: Model) -> list[Entry]:
    """Pending entries without a decision, oldest first."""
    entries = model.home.ledger.entries(model.config.model)
    closed = {e.decision_id for e in entries}
    return [e for e in entries if e.kind == PENDING and _closing_id(e) not in closed]


def expires_at(entry: Entry) -> datetime:
    """The wall-clock moment from which a pending entry counts as expired."""
    return entry.recorded_at + timedelta(seconds=_approval(entry).expires_after_seconds)


def undecided(model: Model) -> list[tuple[Entry, tuple[str, str] | None]]:
    """The open approvals, oldest first, each with why it can no longer be decided: how it closes, and the reason."""
    waiting = open_approvals(model)
    return [(entry, _too_late(model, entry, waiting[-1])) for entry in waiting]


def settle(model: Model) -> None:
    """Close every pending entry that can no longer be decided, and record why. Doing it twice changes nothing."""
    for entry, late in undecided(model):
        if late is not None:
            _hold(model, entry, *late)


def _too_late(model: Model, entry: Entry, newest: Entry) -> tuple[str, str] | None:
    if entry is not newest:
        newer = f"version {newest.body.version} passed later (ledger entry {newest.seq})"
        return _SUPERSEDED, f"superseded: {newer} and waits instead"
    if model.home.now() >= expires_at(entry):
        wait = write_duration(timedelta(seconds=_approval(entry).expires_after_seconds))
        return _EXPIRED, f"approval expired: nobody decided within {wait}"
    if (epoch := _epoch(model)) != _approval(entry).expected_epoch:
        return _STALE, _stale(entry, epoch)
    return None


def upkeep(model: Model) -> None:
    """The first work of every run: close pending entries that are too late, and repair an alias that a crash left behind.

    Without MLflow the alias waits for the next run: it only shows what the ledger has.
    """
    settle(model)
    with suppress(RegistryUnavailable):
        align(model)


def approve(model: Model, entry: Entry, by: str, why: str = "") -> Decided:
    """Promote a pending challenger, with a compare-and-set of the champion's epoch; then set the alias.

    With `promote.rollout` its rollout begins, and the champion stays for now. Idempotent: the same decision by the same
    person returns the recorded one. Raises StaleDecision when the champion is not the one it was judged against (that is
    recorded, too), AlreadyDecided after another decision, UsageError without a name, while another rollout is under way or
    when `four_eyes` demands another person, and UntrustedModel when the model's files are not those that were judged.
    """
    by = named(by)
    if (earlier := _closed(model, entry)) is not None:
        return _recorded(model, entry, earlier, "promoted", by)
    fitted, epoch = entry.challenge.model, _approval(entry).expected_epoch
    eyes = require_another(model, entry, by)
    require_none(model)
    model.home.registry.load(fitted.uri, fitted.manifest_digest)
    rules = rules_for(model.config, epoch)
    outcome: Literal["promoted", "rollout"] = "promoted" if rules is None else ROLLOUT
    body = _closing_body(entry, outcome, [*entry.body.reasons, f"approved by {by}" + (f": {why}" if why else "")])
    body |= Record(approver=person(model.home, by, why, eyes), epoch=epochs(epoch, promoted=rules is None))
    promotion = Promotion(fitted.version, fitted.manifest_digest, epoch) if rules is None else None
    if rules is not None:
        body |= first_state(rules, fitted.version, epoch)
    try:
        closing = _append(model, entry, outcome, body, promotion)
    except StaleDecision:  # between the look and the record
        _hold(model, entry, _STALE, _stale(entry, _epoch(model)))
        closing = resolution(model.home, entry) or entry
    return _recorded(model, entry, closing, "promoted", by)


def reject(model: Model, entry: Entry, by: str, why: str) -> Decided:
    """Reject a pending challenger; the champion stays. Idempotent, as `approve`.

    Raises AlreadyDecided after another decision, UsageError without a name or a reason.
    """
    by, why = named(by), reasoned(why)
    if (closing := _closed(model, entry)) is not None:
        return _recorded(model, entry, closing, "rejected", by)
    body = _closing_body(entry, "rejected", [f"rejected by {by}: {why}"])
    body |= Record(approver=person(model.home, by, why))
    return _recorded(model, entry, _append(model, entry, "rejected", body), "rejected", by)


def named(by: str) -> str:
    """The name without spaces around it. Raises UsageError for an empty one."""
    if not (name := by.strip()):
        raise UsageError("--by is required: name the person who decides")
    return name


def reasoned(why: str) -> str:
    """The reason without spaces around it. Raises UsageError for an empty one."""
    if not (reason := why.strip()):
        raise UsageError("--why is required: the ledger records the reason")
    return reason


def standing(model: Model) -> datetime:
    """The moment of the model's own clock at which a person decides.

    With `clock: wall` it is now; with the data's clock it is the newest moment that the loop worked at. It is never
    before an earlier decision, so that the champion at that moment is the present one.
    """
    moments = [e.as_of for e in model.home.ledger.entries(model.config.model)]
    moments += [r.as_of for r in model.looks()]
    if model.config.clock == "wall":
        moments.append(model.home.local_now(model.config))
    return max(moments)


def _closed(model: Model, entry: Entry) -> Entry | None:
    """The decision on a pending entry, once those that are too late have been recorded."""
    settle(model)
    return resolution(model.home, entry)


def _recorded(model: Model, entry: Entry, closing: Entry, wanted: str, by: str) -> Decided:
    """The closing entry, if it is what this person wanted. Raises AlreadyDecided, StaleDecision."""
    who = closing.body.approver.name if closing.body.approver else None
    reason = closing.body.reasons[-1]
    if _approval(closing).closed == _STALE:
        raise StaleDecision(f"{entry.model}: version {entry.body.version} was not {wanted}: {reason}")
    if closing.kind not in {wanted, *([ROLLOUT] if wanted == "promoted" else [])} or who != by:
        raise AlreadyDecided(
            f"{entry.model}: approval {entry.seq} is decided already (ledger entry {closing.seq}, {closing.kind}): "
            f"{reason}; nothing was changed"
        )
    if wanted == "promoted":
        align(model)
    run_id = _approval(entry).run_id
    with suppress(RegistryUnavailable):  # a mark for people who look at the run
        model.home.tracking.log(run_id, tags={"trueup.outcome": closing.kind, "trueup.ledger_entry": closing.seq})
    return decided(closing)


def _append(model: Model, entry: Entry, kind: str, body: Record, promotion: Promotion | None = None) -> Entry:
    moment, identity = max(standing(model), entry.as_of), _closing_id(entry)
    events = of_decision(kind, identity, entry.model, moment, entry.body.version, body.reasons)
    return model.home.ledger.append(Decision(identity, entry.model, kind, moment, body, promotion, events))


def _hold(model: Model, entry: Entry, closed: str, reason: str) -> None:
    _append(model, entry, "held", _closing_body(entry, "held", [reason], closed=closed))


def _closing_body(entry: Entry, outcome: str, reasons: list[str], **closed: str) -> Record:
    """The recorded body of the challenger, with its outcome."""
    approval = _approval(entry).model_copy(update={"pending": entry.seq, **closed})
    return entry.body | Record(outcome=outcome, reasons=reasons, approval=approval)


def person(home: Home, by: str, why: str, eyes: FourEyes | None = None) -> Approver:
    """The person who decided, why, when and from where; with `eyes` also whether another person had requested it."""
    return Approver(
        name=by,
        why=why,
        decided_at=home.now(),
        account=home.actor.account,
        via=home.actor.via,
        flow_run=home.actor.flow_run,
        four_eyes=eyes,
    )


def _closing_id(entry: Entry) -> str:
    return f"{entry.decision_id}:closed"


def _approval(entry: Entry) -> Approval:
    if entry.body.approval is None:
        raise LedgerError(f"ledger entry {entry.seq} ({entry.kind}) is about no approval")
    return entry.body.approval


def _epoch(model: Model) -> int:
    current = model.home.ledger.champion(model.config.model)
    return current.epoch if current else 0


def _stale(entry: Entry, epoch: int) -> str:
    expected = _approval(entry).expected_epoch
    return (
        f"stale: it was judged against the champion of epoch {expected}, and since then the champion changed "
        f"(epoch {epoch}); judge again: trueup retrain {entry.model}"
    )
