"""Every decision, in one chain: append-only, hash-linked, with the champion's epoch as a compare-and-set.

The ledger decides which version is the champion; MLflow's alias is written from it. Events go into an outbox in the same
transaction, so that an event is sent if and only if its decision was recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from trueup.crash import reach
from trueup.domain.events import Message, event_id
from trueup.errors import LedgerError, LedgerUnavailable, StaleDecision
from trueup.ledger.canonical import canonical, stamp
from trueup.ledger.entries import GENESIS, ChampionRecord, Decision, Entry, Event, Receiver, Waiting, entry_hash
from trueup.ledger.news import NOTIFY
from trueup.ledger.signing import Signer
from trueup.ledger.tables import CHAMPIONS, DECISIONS, OUTBOX, SENT_NOTICES
from trueup.ledger.verify import Problem, problems

_LEFT_OUT = {"id", "delivered_at", "notified_at"}  # columns of the outbox that have a default or are set later


class _Statements:
    """The SQL of an append, for the driver itself: composing it each time costs a multiple of the append."""

    newest = f"SELECT seq, hash, key_id FROM {DECISIONS.name} ORDER BY seq DESC LIMIT 1"

    def __init__(self, alone: str, parameter: str, notify: str | None) -> None:
        self.alone = alone
        self.notify = notify
        self.decision, self.event = (
            _insertion(table, key, parameter) for table, key in ((DECISIONS, "decision_id"), (OUTBOX, "event_id"))
        )


def _insertion(table: sa.Table, key: str, parameter: str) -> str:
    """An INSERT that does nothing if the key exists."""
    names = [column.name for column in table.c if column.name not in _LEFT_OUT]
    values = ", ".join(parameter.format(name) for name in names)
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({values}) ON CONFLICT ({key}) DO NOTHING"


_SAY = {
    "postgresql": _Statements(f"LOCK TABLE {DECISIONS.name} IN SHARE ROW EXCLUSIVE MODE", "%({})s", NOTIFY),
    # SQLite takes its write lock with the first statement that may write, whether or not it finds a row: the same as
    # BEGIN IMMEDIATE, however the engine's driver begins its transactions.
    "sqlite": _Statements(f"UPDATE {CHAMPIONS.name} SET epoch = epoch WHERE 1 = 0", ":{}", None),
}


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Ledger:
    """The ledger in a database with the tables of `trueup.ledger.tables.METADATA`.

    Methods raise LedgerError when the database fails. `now` returns the wall clock, with offset. With a signer, entries
    are signed and `verify` requires signatures; a callable is called when the signer is first needed.
    """

    def __init__(
        self,
        engine: sa.Engine,
        now: Callable[[], datetime] = _wall_clock,
        signer: Signer | Callable[[], Signer] | None = None,
    ) -> None:
        self._engine = engine
        self._now = now
        self._opens_signer = signer
        self._say = _SAY[engine.dialect.name]
        self.appended: list[Entry] = []  # by this object, repeated ones included; oldest first

    @cached_property
    def _signer(self) -> Signer | None:
        return self._opens_signer() if callable(self._opens_signer) else self._opens_signer

    def append(self, decision: Decision) -> Entry:
        """Record a decision with its promotion and its events, in one transaction.

        Idempotent: for a known id it returns the recorded entry and changes nothing. Raises StaleDecision when the
        champion is no longer the one that was judged against, LedgerError when an untrusted key signed the newest entry.
        """
        body = decision.document()
        with self._writing() as connection:
            row = self._next_row(connection, decision, body)
            if _straight(connection, self._say.decision, row).rowcount == 0:
                self.appended.append(_recorded_before(connection, decision))
                return self.appended[-1]
            if decision.promotion is not None:
                _require_epoch(connection, decision)
                _promote(connection, decision, row["seq"])
            for event in decision.events:
                named = event.event_id or event_id(event.topic, decision.model, decision.decision_id)
                message = {"event_id": named, "seq": row["seq"], "model": decision.model}
                self._put(connection, event, message, row["recorded_at"])
            self._notify(connection, decision.model)
            reach("ledger.writing")
        reach("ledger.recorded")
        self.appended.append(Entry.from_row(row))
        return self.appended[-1]

    def announce(self, model: str, events: Iterable[Event]) -> int:
        """Put events without a decision into the outbox, unless they are there; return how many were new.

        Raises ValueError for an event without an id.
        """
        listed = list(events)
        if nameless := [e.topic for e in listed if e.event_id is None]:
            raise ValueError(f"{nameless[0]}: an event outside of a decision needs an id of its own")
        if not listed:
            return 0
        with self._writing() as connection:
            moment = stamp(self._now())
            return sum(
                self._put(connection, e, {"event_id": e.event_id, "seq": None, "model": model}, moment) for e in listed
            )

    def notify(self, model: str) -> None:
        """Let the servers of all machines look at a model, as a decision does. Does nothing on SQLite."""
        if self._say.notify is not None:
            with self._explained("written"), self._engine.begin() as connection:
                self._notify(connection, model)

    def champion(self, model: str, epoch: int | None = None) -> ChampionRecord | None:
        """The champion (at an epoch: 1 is the first), or None before the first promotion."""
        at = [] if epoch is None else [CHAMPIONS.c.epoch == epoch]
        return self._champion(CHAMPIONS.c.model == model, *at)

    def champion_at(self, model: str, as_of: datetime) -> ChampionRecord | None:
        """The champion at a moment of the model's own clock."""
        return self._champion(CHAMPIONS.c.model == model, DECISIONS.c.as_of <= stamp(as_of))

    def entries(self, model: str | None = None, limit: int | None = None) -> list[Entry]:
        """Entries, oldest first; with `limit` only the newest."""
        query = sa.select(DECISIONS).order_by(DECISIONS.c.seq.desc()).limit(limit)
        if model is not None:
            query = query.where(DECISIONS.c.model == model)
        return [Entry.from_row(row) for row in reversed(self._read(query))]

    def newest(self) -> int:
        """The sequence number of the newest entry, 0 for an empty ledger."""
        rows = self._read(sa.select(sa.func.max(DECISIONS.c.seq).label("seq")))
        return rows[0]["seq"] or 0

    def since(self, seq: int, limit: int) -> list[Entry]:
        """The first entries after a sequence number, of all models, oldest first."""
        query = sa.select(DECISIONS).where(DECISIONS.c.seq > seq).order_by(DECISIONS.c.seq).limit(limit)
        return [Entry.from_row(row) for row in self._read(query)]

    def page(
        self,
        model: str | None = None,
        kind: str | None = None,
        text: str | None = None,
        between: tuple[datetime | None, datetime | None] = (None, None),
        before: int | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """Entries before a sequence number, newest first; `between` bounds `as_of`, and `text` occurs in the body."""
        first, last = between
        wanted = [
            None if model is None else DECISIONS.c.model == model,
            None if kind is None else DECISIONS.c.kind == kind,
            None if text is None else DECISIONS.c.body.icontains(text, autoescape=True),
            None if first is None else DECISIONS.c.as_of >= stamp(first),
            None if last is None else DECISIONS.c.as_of < stamp(last),
            None if before is None else DECISIONS.c.seq < before,
        ]
        chosen = sa.select(DECISIONS).where(*(w for w in wanted if w is not None))
        return [Entry.from_row(row) for row in self._read(chosen.order_by(DECISIONS.c.seq.desc()).limit(limit))]

    def kinds(self) -> list[str]:
        """The kinds of the entries, in order."""
        return [row["kind"] for row in self._read(sa.select(DECISIONS.c.kind).distinct().order_by(DECISIONS.c.kind))]

    def find(self, decision_id: str) -> Entry | None:
        with self._reading() as connection:
            return _find(connection, decision_id)

    def entry(self, seq: int) -> Entry | None:
        rows = self._read(sa.select(DECISIONS).where(DECISIONS.c.seq == seq))
        return Entry.from_row(rows[0]) if rows else None

    def pending_outbox(self, limit: int | None = None) -> list[Message]:
        """Events not yet delivered to the event server, oldest first."""
        return self._messages(OUTBOX.c.delivered_at.is_(None), limit)

    def waiting(self) -> dict[tuple[str, Receiver], Waiting]:
        """The events of each model that wait for the event server, and those that wait to be looked at for people."""
        columns: dict[Receiver, sa.Column[Any]] = {"events": OUTBOX.c.delivered_at, "people": OUTBOX.c.notified_at}
        listed: list[sa.ColumnElement[Any]] = [OUTBOX.c.model]
        for receiver, column in columns.items():
            created = sa.case((column.is_(None), OUTBOX.c.created_at))
            listed += [sa.func.count(created).label(receiver), sa.func.min(created).label(f"{receiver}_oldest")]
        untold = sa.or_(*(column.is_(None) for column in columns.values()))
        rows = self._read(sa.select(*listed).where(untold).group_by(OUTBOX.c.model))
        return {
            (row["model"], receiver): Waiting(row[receiver], datetime.fromisoformat(row[f"{receiver}_oldest"]))
            for row in rows
            for receiver in columns
            if row[receiver]
        }

    def has_told(self) -> dict[Receiver, bool]:
        """Whether any event was ever delivered to the event server, and whether any was looked at for people."""
        columns: dict[Receiver, sa.Column[Any]] = {"events": OUTBOX.c.delivered_at, "people": OUTBOX.c.notified_at}
        rows = {r: self._read(sa.select(OUTBOX.c.id).where(c.is_not(None)).limit(1)) for r, c in columns.items()}
        return {receiver: bool(found) for receiver, found in rows.items()}

    def announced(self, model: str, topic: str) -> list[Message]:
        """All events of a topic about a model, oldest first."""
        return self._messages((OUTBOX.c.model == model) & (OUTBOX.c.topic == topic), None)

    def delivered_between(self, start: datetime, end: datetime) -> list[Message]:
        """Events that were delivered between two moments (wall clock, UTC), oldest first."""
        return self._messages(OUTBOX.c.delivered_at.between(stamp(start), stamp(end)), None)

    def mark_delivered(self, messages: Iterable[Message]) -> None:
        """Mark events as delivered. A second mark changes nothing."""
        self._mark(OUTBOX.c.delivered_at, messages)

    def pending_notices(self, limit: int | None = None) -> list[Message]:
        """Events that were not sent to people yet, oldest first."""
        return self._messages(OUTBOX.c.notified_at.is_(None), limit)

    def mark_notified(self, messages: Iterable[Message]) -> None:
        """Mark events as sent to people. A second mark changes nothing."""
        listed = list(messages)
        self._mark(OUTBOX.c.notified_at, listed)
        with self._writing() as connection:
            connection.execute(sa.delete(SENT_NOTICES).where(SENT_NOTICES.c.message.in_([m.id for m in listed])))

    def sent_to(self, address: str) -> set[int]:
        """The pending notices that were sent to an address, given by its digest."""
        return {
            row["message"]
            for row in self._read(sa.select(SENT_NOTICES.c.message).where(SENT_NOTICES.c.address == address))
        }

    def mark_sent(self, address: str, messages: Iterable[Message]) -> None:
        """Mark events as sent to one address, given by its digest."""
        rows = [{"message": m.id, "address": address} for m in messages]
        if rows:
            with self._writing() as connection:
                connection.execute(sa.insert(SENT_NOTICES), rows)

    def verify(self) -> list[Problem]:
        """Walk the chain from its start and return the problems, each with its entry.

        An account that may write to the database can rewrite the end of the chain, or cut it off, without a trace in it:
        only a copy of a later hash kept elsewhere shows that.
        """
        with self._reading() as connection:
            return problems(connection, self._signer)

    def _messages(self, condition: sa.ColumnElement[bool], limit: int | None) -> list[Message]:
        query = sa.select(OUTBOX).where(condition).order_by(OUTBOX.c.id).limit(limit)
        return [Message.from_row(row) for row in self._read(query)]

    def _mark(self, column: sa.Column[Any], messages: Iterable[Message]) -> None:
        unmarked = OUTBOX.c.id.in_([m.id for m in messages]) & column.is_(None)
        with self._writing() as connection:
            connection.execute(sa.update(OUTBOX).where(unmarked).values({column: stamp(self._now())}))

    def _champion(self, *conditions: sa.ColumnElement[bool]) -> ChampionRecord | None:
        joined = DECISIONS.join(CHAMPIONS, CHAMPIONS.c.seq == DECISIONS.c.seq)
        wanted = sa.select(DECISIONS, CHAMPIONS.c.epoch, CHAMPIONS.c.version, CHAMPIONS.c.manifest_digest)
        rows = self._read(wanted.select_from(joined).where(*conditions).order_by(CHAMPIONS.c.epoch.desc()).limit(1))
        if not rows:
            return None
        row = rows[0]
        return ChampionRecord(row["model"], row["epoch"], row["version"], row["manifest_digest"], Entry.from_row(row))

    def _next_row(self, connection: sa.Connection, decision: Decision, body: str) -> Mapping[str, Any]:
        seq, prev_hash, signed_with = _straight(connection, self._say.newest).fetchone() or (0, GENESIS, None)
        row = {
            "seq": seq + 1,
            "model": decision.model,
            "decision_id": decision.decision_id,
            "kind": decision.kind,
            "recorded_at": stamp(self._now()),
            "as_of": stamp(decision.as_of),
            "prev_hash": prev_hash,
            "body": body,
        }
        digest = entry_hash(row)
        if (signer := self._signer) is not None:
            signer.require_signed(signed_with)
        key_id, signature = (None, None) if signer is None else (signer.key_id, signer.sign(digest))
        return {**row, "hash": digest, "key_id": key_id, "signature": signature}

    def _put(self, connection: sa.Connection, event: Event, names: Mapping[str, Any], moment: str) -> bool:
        """Put an event into the outbox unless it is there; return whether it was new."""
        row = {**names, "topic": event.topic, "payload": canonical(event.payload), "created_at": moment}
        return bool(_straight(connection, self._say.event, row).rowcount == 1)

    def _notify(self, connection: sa.Connection, model: str) -> None:
        """Let the servers of a model look at it once the transaction is committed."""
        if self._say.notify is not None:
            _straight(connection, self._say.notify, {"model": model})

    def _read(self, query: sa.Select[Any]) -> list[sa.RowMapping]:
        with self._reading() as connection:
            return list(connection.execute(query).mappings())

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        """One consistent view of all tables."""
        # The home's SQLite engine takes the write lock unless a transaction is marked as read-only.
        options: dict[str, Any] = {"trueup_reads": True}
        if self._engine.dialect.name == "postgresql":
            options["isolation_level"] = "REPEATABLE READ"
        with self._explained("read"), self._engine.connect().execution_options(**options) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """A transaction that is the only writer, so that the chain never forks."""
        with self._explained("written"), self._engine.begin() as connection:
            _straight(connection, self._say.alone)
            yield connection

    @contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, self._engine.dialect.loaded_dbapi.Error) as error:
            cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            where = self._engine.url.render_as_string(hide_password=True)
            gone = isinstance(getattr(error, "orig", None) or error, self._engine.dialect.loaded_dbapi.OperationalError)
            problem = LedgerUnavailable if gone and self._engine.dialect.name == "postgresql" else LedgerError
            raise problem(
                f"the ledger in {where} cannot be {what}: {cause}; check that the database is there and not locked by "
                "another process, and run again: what was not recorded did not happen"
            ) from error


def _straight(connection: sa.Connection, statement: str, row: Mapping[str, Any] | None = None) -> Any:
    """Execute a statement by the driver: SQLAlchemy takes longer than SQLite itself."""
    driver: Any = connection.connection.driver_connection
    return driver.execute(statement, row or {})


def _find(connection: sa.Connection, decision_id: str) -> Entry | None:
    row = (
        connection.execute(sa.select(DECISIONS).where(DECISIONS.c.decision_id == decision_id)).mappings().one_or_none()
    )
    return None if row is None else Entry.from_row(row)


def _recorded_before(connection: sa.Connection, decision: Decision) -> Entry:
    """The entry of a decision that was recorded before."""
    entry = _find(connection, decision.decision_id)
    assert entry is not None
    if entry.model != decision.model:
        raise LedgerError(f"decision id {decision.decision_id} belongs to {entry.model}; ids are never shared")
    return entry


def _require_epoch(connection: sa.Connection, decision: Decision) -> None:
    """Compare: the champion's epoch is the one that the decision was made on."""
    assert decision.promotion is not None
    newest = sa.select(sa.func.max(CHAMPIONS.c.epoch)).where(CHAMPIONS.c.model == decision.model)
    epoch = connection.execute(newest).scalar() or 0
    if epoch != decision.promotion.expected_epoch:
        raise StaleDecision(
            f"{decision.model}: the champion changed while this was decided (epoch {epoch}, judged against "
            f"{decision.promotion.expected_epoch}); nothing was promoted; judge again against the new champion"
        )


def _promote(connection: sa.Connection, decision: Decision, seq: int) -> None:
    """And set: the next epoch belongs to this decision."""
    p = decision.promotion
    assert p is not None
    row = {"model": decision.model, "epoch": p.expected_epoch + 1, "version": p.version}
    connection.execute(sa.insert(CHAMPIONS), {**row, "manifest_digest": p.manifest_digest, "seq": seq})
