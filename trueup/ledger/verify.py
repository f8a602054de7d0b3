"""Check that the ledger is as it was written: walk the chain from its start."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from trueup.ledger.entries import GENESIS, entry_hash
from trueup.ledger.signing import Signer
from trueup.ledger.tables import CHAMPIONS, DECISIONS, OUTBOX


@dataclass(frozen=True)
class Problem:
    """Something wrong with one entry."""

    seq: int
    what: str

    def __str__(self) -> str:
        return f"entry {self.seq}: {self.what}"


Row = Mapping[Any, Any]
# (model, epoch) -> (version, manifest digest, entry)
_Promotions = dict[tuple[str, int], tuple[int, str, int]]


@dataclass
class _Walk:
    """The position of the walk, and the promotions so far."""

    signer: Signer | None
    seq: int = 0
    hash: str = GENESIS
    promoted: _Promotions = field(default_factory=dict)

    def step(self, row: Row) -> Iterator[Problem]:
        seq = row["seq"]
        if seq != self.seq + 1:
            yield Problem(self.seq + 1, f"is missing; entry {seq} follows")
        elif row["prev_hash"] != self.hash:
            yield Problem(seq, f"does not follow on entry {self.seq}: one of the two was rewritten")
        if not _intact(row):
            yield Problem(seq, "was edited: its content does not match its hash")
        elif (unsigned := _unsigned(row, self.signer)) is not None:
            yield Problem(seq, unsigned)
        elif (promotion := _promotion(row)) is not None:
            self.promoted[row["model"], promotion[0]] = (*promotion[1:], seq)
        self.seq, self.hash = seq, row["hash"]


def _intact(row: Row) -> bool:
    try:
        return bool(entry_hash(row) == row["hash"])
    except TypeError:  # SQLite keeps whatever is put into a column: bytes, say
        return False


def _unsigned(row: Row, signer: Signer | None) -> str | None:
    """The problem with an entry's signature; None without one."""
    if signer is None:
        return None
    if not row["signature"]:
        return "is not signed with the key"
    right = signer.verifies(row["key_id"], row["hash"], row["signature"])
    if right is None:
        return (
            f"is signed with another key ({row['key_id']}): if it was yours, name its public key in "
            "TRUEUP_LEDGER_EARLIER_KEYS"
        )
    return None if right else "has an invalid signature"


def _promotion(row: Row) -> tuple[int, int, str] | None:
    """Epoch, version and manifest digest; None for a body that the ledger did not write."""
    try:
        promotion = json.loads(row["body"])["promotion"]
        return promotion["epoch"], promotion["version"], promotion["manifest_digest"]
    except (ValueError, KeyError, TypeError):
        return None


def problems(connection: sa.Connection, signer: Signer | None = None) -> list[Problem]:
    """Check every entry's hash, link, place and signature, and that champions and outbox rest on entries that exist."""
    walk = _Walk(signer)
    rows = connection.execution_options(yield_per=1000).execute(sa.select(DECISIONS).order_by(DECISIONS.c.seq))
    faults = [problem for row in rows.mappings() for problem in walk.step(row)]
    named = {p.seq for p in faults}
    faults += [p for p in _champion_problems(connection, walk.promoted) if p.seq not in named]
    orphans = sa.select(OUTBOX.c.seq).distinct().where(OUTBOX.c.seq.not_in(sa.select(DECISIONS.c.seq)))
    reported = {p.seq for p in faults}
    faults += [
        Problem(seq, "is missing; the outbox names it") for seq in connection.scalars(orphans) if seq not in reported
    ]
    return sorted(faults, key=lambda p: p.seq)


def _champion_problems(connection: sa.Connection, promoted: _Promotions) -> Iterator[Problem]:
    stored: _Promotions = {
        (r["model"], r["epoch"]): (r["version"], r["manifest_digest"], r["seq"])
        for r in connection.execute(sa.select(CHAMPIONS)).mappings()
    }
    for place in sorted(stored.keys() | promoted.keys()):
        if stored.get(place) != promoted.get(place):
            yield Problem((promoted.get(place) or stored[place])[2], _difference(place, stored, promoted))


def _difference(place: tuple[str, int], stored: _Promotions, promoted: _Promotions) -> str:
    model, epoch = place
    champion = f"the champion of {model} in epoch {epoch}"
    if place not in stored:
        return f"made {champion}, but its row is gone"
    if place not in promoted:
        return f"did not make {champion}, which names it"
    return f"made {champion}, but its row was edited"
