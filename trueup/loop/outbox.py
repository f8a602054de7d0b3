"""Relay: hand the events that wait in the outbox to the event server, and tell people of those that need one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from trueup.adapters.sql.lock import alone
from trueup.domain.events import NO_MODEL, Message
from trueup.errors import EventRefused, EventsUnavailable
from trueup.home import Home

_BATCH = 50
_WRITTEN = timedelta(seconds=30)  # by then a server has written down what it took
_LATELY = timedelta(days=1)  # it forgets events after some days, and those are not lost


class Receiver(Protocol):
    """An event server. Taking the same id twice is taking one event."""

    def send(self, messages: Sequence[Message]) -> None:
        """Take all, or raise EventsUnavailable or EventRefused."""

    def known(self, messages: Sequence[Message]) -> Collection[str]:
        """Give the ids of those that it has, or raise EventsUnavailable."""


class Person(Protocol):
    """An address of somebody who wants to be told."""

    @property
    def digest(self) -> str:
        """Its name in the ledger."""

    def tell(self, title: str, text: str) -> str | None:
        """Send a message there; give what went wrong, or None."""


@dataclass(frozen=True)
class Relayed:
    """How many events were handed over, how many still wait, and why."""

    delivered: int
    pending: int
    problem: str | None = None


def relay(home: Home, receiver: Receiver | None, lost: bool = False) -> Relayed:
    """Hand over what waits, oldest first. An event counts as delivered once the server has said that it took it.

    With `lost` also what the server took lately and does not have: it says that it took an event before it has written
    it down, and may be killed in between. A crash delivers some twice, under the same id. What the server refuses as
    wrong stays and is told, and does not hold up what comes after it. Without a receiver everything waits.
    """
    waiting = home.ledger.pending_outbox()
    if receiver is None:
        return Relayed(0, len(waiting))
    delivered, problems = 0, []
    try:
        if lost:
            waiting = _lost(home, receiver) + waiting
        for some in _chunks(waiting):
            taken, refused = _hand_over(receiver, some)
            home.ledger.mark_delivered(taken)
            delivered += len(taken)
            problems += refused
    except EventsUnavailable as error:
        problems.append(str(error))
    return Relayed(delivered, len(waiting) - delivered, "; ".join(dict.fromkeys(problems)) or None)


def _lost(home: Home, receiver: Receiver) -> list[Message]:
    now = home.now()
    taken = home.ledger.delivered_between(now - _LATELY, now - _WRITTEN)
    has = {event_id for some in _chunks(taken) for event_id in receiver.known(some)}
    return [message for message in taken if message.event_id not in has]


def _hand_over(receiver: Receiver, some: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Send a batch; one that is refused is sent event by event, to find the one that is wrong."""
    try:
        receiver.send(some)
        return list(some), []
    except EventRefused as error:
        if len(some) == 1:
            return [], [str(error)]
    taken, refused = [], []
    for message in some:
        ok, why = _hand_over(receiver, [message])
        taken += ok
        refused += why
    return taken, refused


def notify(home: Home, people: Sequence[Person]) -> Relayed:
    """Tell people, each in one message, of all that waits and concerns them. Without anybody to tell everything waits.

    What an address was told it is not told again while others cannot be reached. One process tells at a time: what
    another is at, or what was announced meanwhile, is left to it and to the next run.
    """
    with alone(home.engine, "notify") as held:
        waiting = home.ledger.pending_notices()
        lines = {m.id: line for m in waiting if (line := _notice(m)) is not None}
        if not held or not people:
            return Relayed(0, len(lines))
        problems = [said for person in people if (said := _tell(home, person, waiting, lines)) is not None]
        if problems:
            return Relayed(0, len(lines), "; ".join([*problems, "what waits is sent again with the next run"]))
        home.ledger.mark_notified(waiting)
        return Relayed(len(lines), 0)


def _tell(home: Home, person: Person, waiting: Sequence[Message], lines: Mapping[int, str]) -> str | None:
    """Tell one address what it was not told yet; give what went wrong, or None."""
    known = home.ledger.told(person.digest)
    news = [m for m in waiting if m.id in lines and m.id not in known]
    if not news:
        return None
    said = [lines[m.id] for m in news]
    shown = said[-_BATCH:] if len(said) <= _BATCH else [f"{len(said) - _BATCH} earlier ones", *said[-_BATCH:]]
    title = said[0].split(":")[0] if len(said) == 1 else f"{len(said)} things to look at"
    if (problem := person.tell(f"Trueup: {title}", "\n".join(shown))) is None:
        home.ledger.mark_told(person.digest, news)
    return problem


def _notice(message: Message) -> str | None:
    """What people read about an event; None for those that need nobody."""
    said: dict[str, Any] = message.payload
    what = _NOTICES.get(message.topic)
    # Of the refused retrains only those need a person that will go on being refused without one.
    if what is None or (message.topic == "trueup.retrain.refused" and said.get("rule") != "rejections"):
        return None
    about = f" (batch {said['batch']})" if said.get("batch") else ""
    about = next((f" ({said[key]})" for key in ("automation", "run") if key in said), about)
    why = "; ".join(said.get("reasons") or ([f"due {said['due']}"] if "due" in said else []))
    return f"{'Prefect' if message.model == NO_MODEL else message.model} {what}{about}: {why}"


_NOTICES = {
    "trueup.data.broken": "has a broken batch",
    "trueup.data.unusual": "has an unusual batch",
    "trueup.batch.missing": "misses a batch",
    "trueup.model.decayed": "has decayed",
    "trueup.model.rolled_back": "was rolled back",
    "trueup.model.approval_requested": "waits for an approval",
    "trueup.retrain.refused": "is no longer retrained",
    "trueup.automation.failed": "has an automation that could not act",
    "trueup.flow.died": "has a flow run whose process died",
}


def _chunks(messages: Sequence[Message]) -> list[list[Message]]:
    return [list(messages[i : i + _BATCH]) for i in range(0, len(messages), _BATCH)]
