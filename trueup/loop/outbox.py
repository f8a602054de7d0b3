"""The outbox: delivers waiting events to the event server. `loop.notices` notifies people."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from trueup.domain.events import Message
from trueup.errors import EventRefused, EventsUnavailable
from trueup.home import Home

_BATCH = 50
_WRITTEN = timedelta(seconds=30)  # by then a server has stored accepted events
_LATELY = timedelta(days=1)  # the server deletes old events, which are not lost


class Receiver(Protocol):
    """An event server. Accepting the same id twice counts as one event."""

    def send(self, messages: Sequence[Message]) -> None:
        """Accept all events. Raises EventsUnavailable or EventRefused."""

    def stored_ids(self, messages: Sequence[Message]) -> Collection[str]:
        """The ids of stored events. Raises EventsUnavailable."""


@dataclass(frozen=True)
class Relayed:
    """How many events were delivered, how many still wait, and why."""

    delivered: int
    pending: int
    problem: str | None = None


def relay(home: Home, receiver: Receiver | None, lost: bool = False) -> Relayed:
    """Deliver waiting events, oldest first. An event counts as delivered once the server has accepted it.

    With `lost` also recently accepted events that the server does not have: it accepts events before it stores them,
    and may be killed in between. A crash may deliver some twice, under the same id. Events that the server refuses stay
    with an error, and do not block later ones. Without a receiver everything waits.
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
    has = {event_id for some in _chunks(taken) for event_id in receiver.stored_ids(some)}
    return [message for message in taken if message.event_id not in has]


def _hand_over(receiver: Receiver, some: Sequence[Message]) -> tuple[list[Message], list[str]]:
    """Send a batch; after a refusal send its events one by one, to find the wrong one."""
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
