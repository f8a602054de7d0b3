"""The events API of a Prefect server, spoken over plain HTTP: Trueup's logic knows Prefect's address, not Prefect."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from trueup.domain.events import Message, resource_id
from trueup.errors import EventRefused, EventsUnavailable

_SECONDS = 10.0  # a run waits no longer than this for a server that takes a connection and then says nothing


class EventApi:
    """A server's `POST /events`, at the address that Prefect calls its API (`http://host:4200/api`).

    `auth` is what Prefect calls its auth string, `user:password`; `key` the key of a hosted Prefect.
    """

    def __init__(self, url: str, auth: str | None = None, key: str | None = None, seconds: float = _SECONDS) -> None:
        self.url = f"{url.rstrip('/')}/events"
        self._seconds = seconds
        self._headers: dict[str, str] = {}
        if auth is not None:
            self._headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
        elif key is not None:
            self._headers["Authorization"] = f"Bearer {key}"

    def send(self, messages: Sequence[Message]) -> None:
        """Hand events over, in their order. Returning means that the server has taken all of them.

        Raises EventRefused when it says that they are wrong, EventsUnavailable for anything else.
        """
        import httpx

        try:
            answer = httpx.post(
                self.url, json=[_event(m) for m in messages], headers=self._headers, timeout=self._seconds
            )
        except httpx.HTTPError as error:
            raise EventsUnavailable(
                f"the event server {self.url} does not answer: {error or type(error).__name__}; start it, or unset "
                "PREFECT_API_URL; events wait in the outbox until it does"
            ) from None
        if answer.is_success:
            return
        if answer.status_code in {401, 403}:
            raise EventsUnavailable(
                f"the event server {self.url} does not let us in ({answer.status_code}); set PREFECT_API_AUTH_STRING "
                "to its user:password"
            )
        said = " ".join(answer.text.split())[:300]
        if answer.status_code in {400, 413, 422}:
            raise EventRefused(f"the event server {self.url} refused {len(messages)} events: {said}")
        raise EventsUnavailable(f"the event server {self.url} answered {answer.status_code}: {said}; look at its log")


def _event(message: Message) -> dict[str, Any]:
    return {
        "id": message.event_id,
        "occurred": message.created_at.isoformat(),
        "event": message.topic,
        "resource": {"prefect.resource.id": resource_id(message.model), "prefect.resource.name": message.model},
        "related": [],
        "payload": message.payload,
    }
