"""A client for the events API of a Prefect server over HTTP, without a dependency on Prefect."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from trueup.domain.events import Message, resource_id
from trueup.domain.records import from_plain, to_plain
from trueup.errors import EventRefused, EventsUnavailable

if TYPE_CHECKING:
    from httpx import Response

_SECONDS = 10.0  # the longest wait for a server that accepts a connection and does not answer
_FAILED = "prefect.automation.action.failed"
_PAGE = 50  # page size of a server


@dataclass(frozen=True)
class ServerEvent:
    """An event as the server has it."""

    id: str
    occurred: datetime
    event: str
    resource: dict[str, str]
    payload: Any  # that of an event of others may be anything
    related: list[dict[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class FailedAction:
    """An action of an automation that failed."""

    event_id: str  # the server's
    occurred: datetime
    automation: str
    action: str
    reason: str
    set_off_by: ServerEvent | None


class EventApi:
    """A server's events, at Prefect's API URL. `auth` is its `user:password`, `key` that of a hosted Prefect."""

    def __init__(self, url: str, auth: str | None = None, key: str | None = None, seconds: float = _SECONDS) -> None:
        self.url = f"{url.rstrip('/')}/events"
        self._seconds = seconds
        self._headers: dict[str, str] = {}
        if auth is not None:
            self._headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        elif key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def send(self, messages: Sequence[Message]) -> None:
        """Send events in order; returns once the server has accepted all. Raises EventRefused, EventsUnavailable."""
        events = [
            ServerEvent(
                id=m.event_id,
                occurred=m.created_at,
                event=m.topic,
                resource={"prefect.resource.id": resource_id(m.model), "prefect.resource.name": m.model},
                payload=m.payload,
            )
            for m in messages
        ]
        self._ask("", to_plain(events), f"refused {len(messages)} events")

    def failed_actions(self, since: datetime) -> list[FailedAction]:
        """Failed actions of automations since a moment, oldest first. Raises EventsUnavailable, EventRefused."""
        failures = list(self._find({"event": {"name": [_FAILED]}}, since))
        causes = [cause for event in failures if (cause := _cause(event)) is not None]
        by_id = {event.id: event for event in self._named(causes, since)}
        return [_failed(event, by_id.get(_cause(event) or "")) for event in failures]

    def stored_ids(self, messages: Sequence[Message]) -> set[str]:
        """The ids of those events that the server has stored. Raises EventsUnavailable, EventRefused."""
        if not messages:
            return set()
        since = min(m.created_at for m in messages) - timedelta(days=1)  # whatever the server's default is
        return {event.id for event in self._named([m.event_id for m in messages], since)}

    def _named(self, ids: Sequence[str], since: datetime) -> Iterator[ServerEvent]:
        for start in range(0, len(ids), _PAGE):
            yield from self._find({"id": {"id": list(ids[start : start + _PAGE])}}, since)

    def _find(self, wanted: Mapping[str, object], since: datetime) -> Iterator[ServerEvent]:
        query = {"filter": {**wanted, "occurred": {"since": since.isoformat()}, "order": "ASC"}, "limit": _PAGE}
        page = self._ask("/filter", query, "refused a question").json()
        while True:
            yield from (from_plain(ServerEvent, event) for event in page["events"])
            if page["next_page"] is None:
                return
            # The server may have another address for itself, so only its token is used.
            page = self._ask(f"/filter/next?{urlsplit(page['next_page']).query}", None, "refused a question").json()

    def _ask(self, path: str, body: Any, refusal: str) -> Response:
        """POST a body, or GET without one, and return a successful response."""
        import httpx

        method = "GET" if body is None else "POST"
        try:
            answer = httpx.request(method, f"{self.url}{path}", json=body, headers=self._headers, timeout=self._seconds)
        except httpx.HTTPError as error:
            raise EventsUnavailable(
                f"the event server {self.url} does not answer: {error or type(error).__name__}; start it, or unset "
                "PREFECT_API_URL; events wait in the outbox until it does"
            ) from None
        if answer.is_success:
            return answer
        if answer.status_code in {401, 403}:
            raise EventsUnavailable(
                f"the event server {self.url} does not let us in ({answer.status_code}); set PREFECT_API_AUTH_STRING "
                "to its user:password"
            )
        text = " ".join(answer.text.split())[:300]
        if answer.status_code in {400, 413, 422}:
            raise EventRefused(f"the event server {self.url} {refusal}: {text}")
        raise EventsUnavailable(f"the event server {self.url} answered {answer.status_code}: {text}; look at its log")


def _cause(event: ServerEvent) -> str | None:
    for related in event.related:
        if related.get("prefect.resource.role") == "triggering-event":
            return related["prefect.resource.id"].removeprefix("prefect.event.")
    return None


def _failed(event: ServerEvent, cause: ServerEvent | None) -> FailedAction:
    return FailedAction(
        event.id,
        event.occurred,
        event.resource.get("prefect.resource.name", event.resource["prefect.resource.id"]),
        str(event.payload.get("action_type", "")),
        str(event.payload.get("reason", "")),
        cause,
    )
