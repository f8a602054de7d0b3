"""Notifications about events, by chat, mail or another address of `TRUEUP_NOTIFY`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from trueup.adapters.sql.lock import alone
from trueup.domain.events import NO_MODEL, Message, RolloutEnded
from trueup.home import Home
from trueup.loop.outbox import Relayed

_MOST = 50  # lines of a message


class Person(Protocol):
    """A person's address."""

    @property
    def digest(self) -> str:
        """Its name in the ledger."""

    def send(self, title: str, text: str) -> str | None:
        """Send a message. Returns the error, or None."""


def notify(home: Home, people: Sequence[Person]) -> Relayed:
    """Send people all waiting notifications, each in one message. Without addresses everything waits.

    An address never gets the same notification twice, even if another address fails. One process notifies at a time;
    a second one leaves the rest to it and to the next run.
    """
    with alone(home.engine, "notify") as locked:
        waiting = home.ledger.pending_notices()
        lines = {m.id: line for m in waiting if (line := _notice(m)) is not None}
        if not locked or not people:
            return Relayed(0, len(lines))
        problems = [error for person in people if (error := _send_new(home, person, waiting, lines)) is not None]
        if problems:
            return Relayed(0, len(lines), "; ".join([*problems, "what waits is sent again with the next run"]))
        home.ledger.mark_notified(waiting)
        return Relayed(len(lines), 0)


def _send_new(home: Home, person: Person, waiting: Sequence[Message], lines: Mapping[int, str]) -> str | None:
    """Send one address its new notifications; return the error, or None."""
    sent = home.ledger.sent_to(person.digest)
    news = [m for m in waiting if m.id in lines and m.id not in sent]
    if not news:
        return None
    texts = [lines[m.id] for m in news]
    shown = texts[-_MOST:] if len(texts) <= _MOST else [f"{len(texts) - _MOST} earlier ones", *texts[-_MOST:]]
    title = texts[0].split(":")[0] if len(texts) == 1 else f"{len(texts)} things to look at"
    if (problem := person.send(f"Trueup: {title}", "\n".join(shown))) is None:
        home.ledger.mark_sent(person.digest, news)
    return problem


def _notice(message: Message) -> str | None:
    """The text about an event; None for events that concern nobody."""
    if message.topic == RolloutEnded.topic:
        return _rollout_ended(message)
    payload = message.payload
    what = _NOTICES.get(message.topic)
    # A refused retrain needs a person only if it would be refused again without one.
    if what is None or (message.topic == "trueup.retrain.refused" and payload.get("rule") != "rejections"):
        return None
    about = f" (batch {payload['batch']})" if payload.get("batch") else ""
    about = next((f" ({payload[key]})" for key in ("automation", "run") if key in payload), about)
    why = "; ".join(payload.get("reasons") or ([f"due {payload['due']}"] if "due" in payload else []))
    return f"{'Prefect' if message.model == NO_MODEL else message.model} {what}{about}: {why}"


def _rollout_ended(message: Message) -> str | None:
    """The text about the end of a rollout; None for a challenger that became the champion."""
    payload = message.payload
    if payload["outcome"] == "promoted":
        return None
    what = _ROLLOUTS[payload["outcome"]].format(version=payload["version"])
    return f"{message.model} {what}: {'; '.join(payload['reasons'])}"


_ROLLOUTS = {
    "rolled_back": "has rolled back version {version}, which was in a rollout",
    "aborted": "had the rollout of version {version} ended by a person",
    "inconclusive": "has no result of the rollout of version {version}, and the champion stays",
    "stale": "has ended the rollout of version {version}, because the champion changed",
}
_NOTICES = {
    "trueup.data.broken": "has a broken batch",
    "trueup.data.unusual": "has an unusual batch",
    "trueup.dependencies.changed": "has other packages or source columns than before",
    "trueup.batch.missing": "misses a batch",
    "trueup.model.decayed": "has decayed",
    "trueup.model.estimated_decay": "is estimated to have decayed, before its labels have come",
    "trueup.model.skewed": "is served other features than those computed offline",
    "trueup.model.rolled_back": "was rolled back",
    "trueup.model.approval_requested": "waits for an approval",
    "trueup.retrain.refused": "is no longer retrained",
    "trueup.automation.failed": "has an automation that could not act",
    "trueup.flow.died": "has a flow run with a dead process",
    "trueup.serving.failed": "has a version that servers could not load",
}
