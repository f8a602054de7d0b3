"""Messages to people, through Apprise: chat, mail, or anything else that has one of its URLs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence


class Notifier:
    """The addresses in `TRUEUP_NOTIFY`, as Apprise writes them. They hold secrets: messages name none."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = list(urls)

    @classmethod
    def named(cls, urls: str | None) -> Notifier | None:
        """The notifier for addresses with commas between them; None without any."""
        found = [url for part in (urls or "").split(",") if (url := part.strip())]
        return cls(found) if found else None

    def tell(self, title: str, text: str) -> str | None:
        """Send a message to all addresses; give what went wrong, or None.

        When one of several fails the message counts as not sent, and the others get it again.
        """
        import apprise

        sender = apprise.Apprise()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of the standard library, at a plugin of Apprise's
            wrong = [str(place) for place, url in enumerate(self._urls, start=1) if not sender.add(url)]
        if wrong:
            return f"TRUEUP_NOTIFY: address {', '.join(wrong)} is none that Apprise knows; see its list of services"
        if sender.notify(title=title, body=text, body_format=apprise.NotifyFormat.TEXT):
            return None
        return "TRUEUP_NOTIFY: a message could not be sent; it is sent again with the next run"
