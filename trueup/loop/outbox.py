"""The outbox: hands the events that wait to the event server. What people are told of them is in `loop.notices`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from trueup.domain.events import Message
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


def _chunks(messages: Sequence[Message]) -> list[list[Message]]:
    return [list(messages[i : i + _BATCH]) for i in range(0, len(messages), _BATCH)]
