"""Rollback and override: a person, or a failed probation, makes another version the champion.

Nothing is trained or judged here. The new entry carries over what was recorded when the version was judged, because
scoring, monitoring and the next challenge read it.
"""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from typing import Literal

from trueup.domain.judging.probation import ProbationLook
from trueup.errors import StaleDecision, UsageError
from trueup.governance.alias import align
from trueup.governance.approval import decided, named, person, reasoned, settle, standing
from trueup.governance.decision_record import REQUEST, circumstances, epochs, previous
from trueup.governance.four_eyes import require_another, require_two
from trueup.governance.ledger_queries import judging_entry
from trueup.handoffs import Decided
from trueup.home import Home
from trueup.ledger.entries import ChampionRecord, Decision, Entry, Promotion, of_decision
from trueup.ledger.record import Fitted, FourEyes, Made, Record, Trigger
from trueup.model import Champion, Model

Kind = Literal["rolled_back", "override"]
_CARRIED = ("judged", "refit", "gate", "search", "evaluation", "inputs", "data", "validation")


def roll_back(
    model: Model,
    to: int | None,
    by: str,
    why: str,
    figures: ProbationLook | None = None,
    asked_at: datetime | None = None,
) -> Decided:
    """Make the last good champion, or the version named, the champion again, and set the alias.

    The last good one is the newest earlier champion that was not itself rolled back. Idempotent: the same person with
    the same reason gets the recorded decision. With `asked_at` (wall clock, with offset), a champion promoted after that
    moment is not rolled back. Raises UsageError when there is no version to go back to, StaleDecision when the champion
    changed meanwhile, UntrustedModel when the old version's files were changed.
    """
    by, why = named(by), reasoned(why)
    current = _current(model)
    if (same := _repeated(model, "rolled_back", to, by, why)) is not None:
        align(model)
        return decided(same)
    if (
        asked_at is not None
        and (since := model.home.ledger.champion(model.config.model))
        and since.entry.recorded_at > asked_at
    ):
        return _overtaken(model.home, since, asked_at, by, why)
    version = to if to is not None else last_good(model)
    if version is None:
        raise UsageError(
            f"{model.config.model}: there is no earlier champion to go back to from version {current.version}; name a "
            "registered version with --to, or train a new one with `trueup retrain`"
        )
    return _put(model, "rolled_back", version, current, by, why, figures)


def override(model: Model, version: int, by: str, why: str, asked_by: str = "") -> Decided:
    """Make a registered version the champion by hand, whatever its verdicts were, and set the alias.

    `asked_by` is the person who asked, if another than `by`; `four_eyes` demands one. Raises UsageError without that and
    for a version that the ledger does not know, StaleDecision, UntrustedModel.
    """
    by, why = named(by), reasoned(why)
    if (same := _repeated(model, "override", version, by, why)) is not None:
        align(model)
        return decided(same)
    eyes = require_two(model.config, version, by, asked_by.strip())
    if (judging := judging_entry(model, version)) is not None:
        require_another(model, judging, by)
    return _put(model, "override", version, model.champion(), by, why, eyes=eyes)


def last_good(model: Model) -> int | None:
    """The newest earlier champion that was not rolled back since it was last promoted."""
    terms, bad = model.succession(), set[int]()
    for before, after in pairwise(terms):
        if after.put_by == "rolled_back":
            bad.add(before.version)
        bad.discard(after.version)
    current = terms[-1].version if terms else None
    return next((t.version for t in reversed(terms) if t.version != current and t.version not in bad), None)


def _put(
    model: Model,
    kind: Kind,
    version: int,
    current: Champion | None,
    by: str,
    why: str,
    figures: ProbationLook | None = None,
    eyes: FourEyes | None = None,
) -> Decided:
    if current is not None and current.version == version:
        raise UsageError(f"{model.config.model}: version {version} is the champion already; nothing was changed")
    source, fitted = _evidence(model, version)
    model.home.registry.load(fitted.uri, fitted.manifest_digest)  # its files are checked, and that they load
    epoch = current.epoch if current else 0
    moment = standing(model)
    reason = f"{'rolled back' if kind == 'rolled_back' else 'promoted by hand'} by {by}: {why}"
    body = circumstances(model, asked_by=eyes.asked_by if eyes else None) | Record(
        outcome=kind,
        reasons=[reason],
        trigger=Trigger(reason="probation", kind="loop") if figures else Trigger(reason="manual", kind=REQUEST),
        verdicts=[],
        previous=previous(current),
        epoch=epochs(epoch, promoted=True),
        approver=person(model.home, by, why, eyes),
        model=fitted,
        evidence_of=source.seq,
        **{key: getattr(source.body, key, None) for key in _CARRIED},
    )
    if figures:
        body |= Record(probation=figures)
    if source.body.received:
        body |= Record(received=source.body.received)
    identity = f"{model.config.model}:{kind}:epoch {epoch + 1}:version {version}"
    entry = model.home.ledger.append(
        Decision(
            decision_id=identity,
            model=model.config.model,
            kind=kind,
            as_of=moment,
            body=body,
            promotion=Promotion(version, fitted.manifest_digest, epoch),
            events=of_decision(kind, identity, model.config.model, moment, version, [reason]),
        )
    )
    if _author(entry)[0] != by:
        raise StaleDecision(
            f"{model.config.model}: not needed any more (ledger entry {entry.seq}): {entry.body.reasons[0]}"
        )
    settle(model)
    align(model)
    return decided(entry)


def _current(model: Model) -> Champion:
    if (current := model.champion()) is None:
        raise UsageError(f"{model.config.model} has no champion yet; next: trueup run {model.config.model}")
    return current


def _repeated(model: Model, kind: Kind, version: int | None, by: str, why: str) -> Entry | None:
    """The entry that promoted the champion, if it was this very decision: a retry must not go one version further."""
    current = model.home.ledger.champion(model.config.model)
    if current is None or current.entry.kind != kind or version not in {None, current.version}:
        return None
    return current.entry if _author(current.entry) == (by, why) else None


def _author(entry: Entry) -> tuple[str, str] | tuple[None, None]:
    """The person who decided, and the reason."""
    approver = entry.body.approver
    return (approver.name, approver.why) if approver else (None, None)


def _overtaken(home: Home, current: ChampionRecord, asked_at: datetime, by: str, why: str) -> Decided:
    """The rollback that was recorded before the present champion was promoted, if it was this one. Raises StaleDecision."""
    for entry in reversed(home.ledger.entries(current.model)):
        if entry.kind == "rolled_back" and entry.recorded_at > asked_at and _author(entry) == (by, why):
            return decided(entry)
    raise StaleDecision(
        f"{current.model}: version {current.version} became the champion after this rollback was requested (ledger entry "
        f"{current.entry.seq}); nothing was changed; repeat the command to roll that back, too"
    )


def _evidence(model: Model, version: int) -> tuple[Entry, Fitted]:
    """The newest entry about a version, and the version's part of it. Raises UsageError without one."""
    for entry in reversed(model.home.ledger.entries(model.config.model)):
        fitted, judged = entry.body.model, entry.body.judged
        if fitted and fitted.version == version:
            return entry, fitted
        if fitted and judged and judged.version == version:
            return entry, _as_judged(model, fitted, judged)
    registered = ", ".join(str(v.version) for v in model.home.registry.versions(model.config.registered_name)) or "none"
    raise UsageError(
        f"{model.config.model}: the ledger has no record of version {version} (registered: {registered}), so its training "
        "and gate rows are unknown; name another, or train one with `trueup retrain`"
    )


def _as_judged(model: Model, fitted: Fitted, judged: Made) -> Fitted:
    """A judged model, described by the record of its refit. It keeps the refit's later end of training, to be safe."""
    if not any(v.version == judged.version for v in model.home.registry.versions(model.config.registered_name)):
        raise UsageError(f"{model.config.model}: MLflow has no version {judged.version} any more; name another")
    own = ("version", "uri", "run_id", "manifest_digest", "rows", "data_digest")
    return fitted.model_copy(update={name: getattr(judged, name) for name in own})
