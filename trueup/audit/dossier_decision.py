"""The part of a dossier about people: who asked, who decided and why, and when the version was champion."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from trueup.config.schema import ModelConfig
from trueup.governance.decision_record import governance
from trueup.governance.four_eyes import asker
from trueup.ledger.entries import Entry
from trueup.ledger.record import Record
from trueup.ledger.verify import Problem
from trueup.reporting.dossier_facts import DecisionFacts, Ended, EntryFacts, Purpose, Term


def decision(entry: Entry, problems: Sequence[Problem]) -> DecisionFacts:
    """The decision in an entry, with the problems of the ledger that concern it."""
    body = entry.challenge
    try:
        asked_by = asker(entry)
    except LookupError as unknown:
        asked_by = f"not known: {unknown}"
    return DecisionFacts(
        sequence=entry.seq,
        outcome=entry.kind,
        reasons=body.reasons,
        as_of=entry.as_of,
        recorded_at=entry.recorded_at.replace(microsecond=0),
        hash=entry.hash,
        signed_with=entry.key_id,
        problems=[str(problem) for problem in problems if problem.seq == entry.seq],
        trigger=body.trigger,
        asked_by=asked_by,
        actor=body.actor,
        approver=body.approver,
        previous=body.previous,
        epoch=body.epoch,
        **({"rollout": body.rollout} if body.rollout else {}),
    )


def happened(entry: Entry) -> EntryFacts:
    """An entry in short."""
    return EntryFacts(
        sequence=entry.seq,
        as_of=entry.as_of,
        recorded_at=entry.recorded_at.replace(microsecond=0),
        outcome=entry.kind,
        version=entry.body.version,
        reasons=entry.body.reasons,
        hash=entry.hash,
    )


def terms(entries: Sequence[Entry], version: int) -> list[Term]:
    """When the version was champion, by the model's own clock; `until` is None for the present champion."""
    promotions = [(entry, entry.body.promotion) for entry in entries if entry.body.promotion]
    return [
        Term(
            since=entry.as_of,
            until=after[0].as_of if after else None,
            put_by=entry.kind,
            ended=Ended(by=after[0].kind, version=after[1].version) if after else None,
        )
        for (entry, promotion), after in zip_longest(promotions, promotions[1:])
        if promotion.version == version
    ]


def standing(served: Sequence[Term], version: int, decided: Entry) -> str:
    """The version's present state in words."""
    if served:
        last = served[-1]
        if last.until is None or last.ended is None:
            return f"champion since {last.since:%Y-%m-%d}"
        how = "rolled back" if last.ended.by == "rolled_back" else "replaced"
        return f"no longer champion: {how} on {last.until:%Y-%m-%d} by version {last.ended.version}"
    if (proposed := decided.body.version) != version:
        return f"judged only: its recipe was fitted again on more rows as version {proposed}, which was {decided.kind}"
    words = {"pending": "waits for a person's approval", "held": "never champion: held"}
    words |= {"rollout": "meets online traffic in a rollout, not champion yet"}
    return words.get(decided.kind, f"never champion: {decided.kind}")


def purpose(config: ModelConfig, body: Record) -> Purpose:
    """The statements of responsible people, as recorded with the decision."""
    recorded = body.governance.plain()
    return Purpose(
        source="the record of the decision", changed_since=recorded != governance(config).plain(), **recorded
    )
