"""Messages to people, through Apprise: chat, mail, or anything else that has one of its URLs."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Address:
    """One of the addresses in `TRUEUP_NOTIFY`, as Apprise writes them. It holds secrets: messages never name it."""

    place: int  # in the list, for people
    _url: str

    @cached_property
    def digest(self) -> str:
        """What it is called where it is written down."""
        return hashlib.sha256(self._url.encode()).hexdigest()[:16]

    def tell(self, title: str, text: str) -> str | None:
        """Send it a message; give what went wrong, or None."""
        import apprise

        sender = apprise.Apprise()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, at a plugin of Apprise's
            if not sender.add(self._url):
                return f"TRUEUP_NOTIFY: address {self.place} is none that Apprise knows; see its list of services"
        if sender.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT):
            return None
        return f"TRUEUP_NOTIFY: a message to address {self.place} could not be sent"


def addresses(urls: str | None) -> list[Address]:
    """The addresses in a text with commas between them."""
    found = [url for part in (urls or "").split(",") if (url := part.strip())]
    return [Address(place, url) for place, url in enumerate(found, start=1)]
