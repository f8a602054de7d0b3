"""Notifications through Apprise: chat, mail, or any other service with an Apprise URL."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Address:
    """One of the addresses in `TRUEUP_NOTIFY`. It contains secrets, so messages never show it."""

    place: int  # position in the list, for people
    _url: str

    @cached_property
    def digest(self) -> str:
        return hashlib.sha256(self._url.encode()).hexdigest()[:16]

    def send(self, title: str, text: str) -> str | None:
        """Send a message. Returns the error, or None."""
        import apprise

        sender = apprise.Apprise()
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # raised by the standard library for a plugin of Apprise
            if not sender.add(self._url):
                return f"TRUEUP_NOTIFY: address {self.place} is not of a service that Apprise knows; see its list of services"
        if sender.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT):
            return None
        return f"TRUEUP_NOTIFY: a message to address {self.place} could not be sent"


def addresses(urls: str | None) -> list[Address]:
    """The addresses in a comma-separated text."""
    single_urls = [url for part in (urls or "").split(",") if (url := part.strip())]
    return [Address(place, url) for place, url in enumerate(single_urls, start=1)]
