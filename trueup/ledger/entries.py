"""What goes into the ledger, and what comes out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from trueup.domain.events import DECIDED, Payload, event_id
from trueup.ledger.canonical import canonical

GENESIS = "0" * 64  # what the first entry names as its predecessor
PROMOTION = "promotion"  # the key of a body under which a promotion stands

# An entry's hash covers every column but itself, so that none can be edited unseen.
HASHED = ("seq", "model", "decision_id", "kind", "recorded_at", "as_of", "prev_hash", "body")


@dataclass(frozen=True)
class Promotion:
    """Makes a version the champion, provided that the champion is still the one that was judged against.

    `expected_epoch` is the epoch of that champion, 0 where there was none.
    """

    version: int
    manifest_digest: str
    expected_epoch: int


@dataclass(frozen=True)
class Event:
    """Something that others are told. The same id is the same event, however often it is announced.

    Without an id, the event of a decision takes it from that decision: one event a topic and decision.
    """

    topic: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None

    @classmethod
    def of(cls, payload: Payload, key: str | None = None) -> Event:
        """An event that says `payload`; `key` tells it from others of its topic and model."""
        named = None if key is None else event_id(payload.topic, payload.model, key)
        return cls(payload.topic, payload.model_dump(mode="json"), named)


def of_decision(
    kind: str, decision_id: str, model: str, as_of: datetime, version: int | None, reasons: Sequence[str]
) -> tuple[Event, ...]:
    """What others are told of a decision: nothing of a hold, for it changes nothing."""
    if (payload := DECIDED.get(kind)) is None:
        return ()
    said = payload(model=model, as_of=as_of, decision=decision_id, version=version, reasons=list(reasons))
    return (Event.of(said),)


@dataclass(frozen=True)
class Decision:
    """A decision to be recorded.

    `decision_id` is the caller's, and the same for the same decision: it makes a retry harmless. `kind` says what
    came out, in a word. `as_of` is in the model's time zone, without offset. `body` holds whatever the decision rests
    on, as plain values; its key `promotion` is the ledger's own.
    """

    decision_id: str
    model: str
    kind: str
    as_of: datetime
    body: Mapping[str, Any] = field(default_factory=dict)
    promotion: Promotion | None = None
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is not None:
            raise ValueError(f"as_of {self.as_of} has an offset; give the model's local time without one")
        if PROMOTION in self.body:
            raise ValueError("a body's key 'promotion' is the ledger's own; use the field of that name")

    def document(self) -> str:
        """The body as it is stored, with the promotion in it."""
        body = dict(self.body)
        if (p := self.promotion) is not None:
            body[PROMOTION] = {
                "epoch": p.expected_epoch + 1,
                "version": p.version,
                "manifest_digest": p.manifest_digest,
            }
        return canonical(body)


@dataclass(frozen=True)
class Entry:
    """A recorded decision."""

    seq: int
    model: str
    decision_id: str
    kind: str
    recorded_at: datetime  # wall clock, UTC
    as_of: datetime
    prev_hash: str
    hash: str
    text: str  # the body's canonical JSON, as it was hashed
    key_id: str | None = None  # of the key that signed the hash
    signature: str | None = None

    @cached_property
    def body(self) -> dict[str, Any]:
        """What the decision rests on; read when it is first asked for, because most entries are only walked past."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Entry:
        """Read a row of `decisions`."""
        return cls(
            row["seq"],
            row["model"],
            row["decision_id"],
            row["kind"],
            datetime.fromisoformat(row["recorded_at"]),
            datetime.fromisoformat(row["as_of"]),
            row["prev_hash"],
            row["hash"],
            row["body"],
            row.get("key_id"),
            row.get("signature"),
        )


@dataclass(frozen=True)
class ChampionRecord:
    """A version in office, and the entry that put it there."""

    model: str
    epoch: int
    version: int
    manifest_digest: str
    entry: Entry


def entry_hash(row: Mapping[Any, Any]) -> str:
    """SHA-256, in hex, over the canonical JSON of an entry's row without its hash."""
    return hashlib.sha256(canonical({name: row[name] for name in HASHED}).encode()).hexdigest()
