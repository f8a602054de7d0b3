"""Decisions as they are recorded, and entries as they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, TypeVar

from pydantic import ValidationError

from trueup.domain.events import DECIDED, Payload, event_id
from trueup.errors import LedgerError
from trueup.ledger.canonical import canonical, stamp
from trueup.ledger.record import Challenge, Record, Serving

GENESIS = "0" * 64  # what the first entry names as its predecessor
R = TypeVar("R", bound=Record)

# An entry's hash covers every column but itself, so that none can be edited unseen.
HASHED = ("seq", "model", "decision_id", "kind", "recorded_at", "as_of", "prev_hash", "body")


@dataclass(frozen=True)
class Promotion:
    """Makes a version the champion, if the champion is still the one that was judged against.

    `expected_epoch` is the epoch of that champion, 0 without one.
    """

    version: int
    manifest_digest: str
    expected_epoch: int


@dataclass(frozen=True)
class Event:
    """Something to announce. The same id is the same event, however often it is announced.

    An event of a decision needs no id: it gets one from its topic and decision.
    """

    topic: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    event_id: str | None = None

    @classmethod
    def of(cls, payload: Payload, key: str | None = None) -> Event:
        """An event with a payload; `key` distinguishes it from others of its topic and model."""
        named = None if key is None else event_id(payload.topic, payload.model, key)
        return cls(payload.topic, payload.model_dump(mode="json"), named)


def of_decision(
    kind: str, decision_id: str, model: str, as_of: datetime, version: int | None, reasons: Sequence[str]
) -> tuple[Event, ...]:
    """The events of a decision; none for a hold, which changes nothing."""
    if (payload := DECIDED.get(kind)) is None:
        return ()
    event = payload(model=model, as_of=as_of, decision=decision_id, version=version, reasons=list(reasons))
    return (Event.of(event),)


@dataclass(frozen=True)
class Decision:
    """A decision to be recorded.

    `decision_id` is the caller's, and the same for the same decision: a retry is harmless. `kind` is the outcome in a
    word. `as_of` is in the model's time zone, without offset. The ledger adds `promotion` to the body.
    """

    decision_id: str
    model: str
    kind: str
    as_of: datetime
    body: Record = field(default_factory=Record)
    promotion: Promotion | None = None
    events: tuple[Event, ...] = ()

    def __post_init__(self) -> None:
        if self.as_of.tzinfo is not None:
            raise ValueError(f"as_of {self.as_of} has an offset; give the model's local time without one")
        if self.body.promotion is not None:
            raise ValueError("a body's key 'promotion' is the ledger's own; use the field of that name")

    def document(self) -> str:
        """The body as it is stored, with the promotion in it."""
        body = self.body
        if (p := self.promotion) is not None:
            serving = Serving(version=p.version, manifest_digest=p.manifest_digest, epoch=p.expected_epoch + 1)
            body |= Record(promotion=serving)
        return canonical(body.plain())


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

    @property
    def columns(self) -> dict[str, str | int | None]:
        """The row of `decisions`, without the body."""
        return {
            "seq": self.seq,
            "recorded_at": stamp(self.recorded_at),
            "as_of": stamp(self.as_of),
            "model": self.model,
            "kind": self.kind,
            "decision_id": self.decision_id,
            "prev_hash": self.prev_hash,
            "hash": self.hash,
            "key_id": self.key_id,
            "signature": self.signature,
        }

    @cached_property
    def body(self) -> Record:
        """The body as a record. Raises LedgerError when the text is no record."""
        return self._read(Record)

    @cached_property
    def challenge(self) -> Challenge:
        """The body of an entry about a challenger that was judged. Raises LedgerError for another entry."""
        return self._read(Challenge)

    def _read(self, kind: type[R]) -> R:
        try:
            return kind.model_validate_json(self.text)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise LedgerError(
                f"{self.model}: ledger entry {self.seq} ({self.kind}) cannot be read as a {kind.__name__.lower()}: {where}: "
                f"{first['msg']}; `trueup ledger verify` shows whether it was edited"
            ) from None

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


Receiver = Literal["events", "people"]  # who an event waits for: the event server, or a notification


@dataclass(frozen=True)
class Waiting:
    """How many events wait in the outbox, and when the oldest was put there (wall clock, UTC)."""

    count: int
    oldest: datetime


@dataclass(frozen=True)
class ChampionRecord:
    """A champion, and the entry that promoted it."""

    model: str
    epoch: int
    version: int
    manifest_digest: str
    entry: Entry


def entry_hash(row: Mapping[Any, Any]) -> str:
    """SHA-256, in hex, over the canonical JSON of an entry's row without its hash."""
    return hashlib.sha256(canonical({name: row[name] for name in HASHED}).encode()).hexdigest()
