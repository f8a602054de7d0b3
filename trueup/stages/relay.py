"""Relay: hand the events that wait in the outbox to the event server, and tell people of those that need one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trueup.domain.events import Message
from trueup.errors import EventRefused, EventsUnavailable
from trueup.stages.ports import Ports

_BATCH = 50


class Receiver(Protocol):
    """An event server. Taking the same id twice is taking one event."""

    def send(self, messages: Sequence[Message]) -> None:
        """Take all, or raise EventsUnavailable or EventRefused."""


class People(Protocol):
    """Those who want to be told."""

    def tell(self, title: str, text: str) -> str | None:
        """Tell them; give what went wrong, or None."""


@dataclass(frozen=True)
class Relayed:
    """How many events were handed over, how many still wait, and why."""

    delivered: int
    pending: int
    problem: str | None = None


def relay(ports: Ports, receiver: Receiver | None) -> Relayed:
    """Hand over what waits, oldest first. An event counts as delivered once the server has said that it took it.

    A crash in between delivers some twice, under the same id. What the server refuses as wrong stays and is told,
    and does not hold up what comes after it. Without a receiver everything waits.
    """
    waiting = ports.ledger.pending_outbox()
    if receiver is None:
        return Relayed(0, len(waiting))
    delivered, problems = 0, []
    try:
        for some in _chunks(waiting):
            taken, refused = _hand_over(receiver, some)
            ports.ledger.mark_delivered(taken)
            delivered += len(taken)
            problems += refused
    except EventsUnavailable as error:
        problems.append(str(error))
    return Relayed(delivered, len(waiting) - delivered, "; ".join(dict.fromkeys(problems)) or None)


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


def notify(ports: Ports, people: People | None) -> Relayed:
    """Tell people, in one message, of all that waits and concerns them. Without anybody to tell everything waits."""
    waiting = ports.ledger.pending_notices()
    telling = [(m, line) for m in waiting if (line := _notice(m)) is not None]
    if people is None:
        return Relayed(0, len(telling))
    problem = None
    if telling:
        lines = [line for _, line in telling]
        shown = lines[-_BATCH:] if len(lines) <= _BATCH else [f"{len(lines) - _BATCH} earlier ones", *lines[-_BATCH:]]
        title = lines[0].split(":")[0] if len(lines) == 1 else f"{len(lines)} things to look at"
        problem = people.tell(f"Trueup: {title}", "\n".join(shown))
    if problem is not None:
        return Relayed(0, len(telling), problem)
    ports.ledger.mark_notified(waiting)
    return Relayed(len(telling), 0)


def _notice(message: Message) -> str | None:
    """What people read about an event; None for those that need nobody."""
    said: dict[str, Any] = message.payload
    what = _NOTICES.get(message.topic)
    # Of the refused retrains only those need a person that will go on being refused without one.
    if what is None or (message.topic == "trueup.retrain.refused" and said.get("rule") != "rejections"):
        return None
    batch = f" (batch {said['batch']})" if said.get("batch") else ""
    why = "; ".join(said.get("reasons") or ([f"due {said['due']}"] if "due" in said else []))
    return f"{message.model} {what}{batch}: {why}"


_NOTICES = {
    "trueup.data.broken": "has a broken batch",
    "trueup.batch.missing": "misses a batch",
    "trueup.model.decayed": "has decayed",
    "trueup.model.rolled_back": "was rolled back",
    "trueup.model.approval_requested": "waits for an approval",
    "trueup.retrain.refused": "is no longer retrained",
}


def _chunks(messages: Sequence[Message]) -> list[list[Message]]:
    return [list(messages[i : i + _BATCH]) for i in range(0, len(messages), _BATCH)]
