"""One model in a server process: the bundle that answers, and how current it is."""

from __future__ import annotations

import time
from pathlib import Path

from trueup.serving.loading.bundle import Bundle
from trueup.serving.published import folder_of


class Served:
    """A model that is served. Requests take `current` once; only the thread of `Watch` assigns anything here."""

    def __init__(self, home: Path, name: str) -> None:
        self.name = name
        self.folder = folder_of(home, name)
        self.current: Bundle | None = None
        self.failure: str | None = None  # why the newest published state, or its challenger, could not be loaded
        self.publishing_failure: str | None = None  # why a newer state could not be published
        self.confirmed_at: float | None = None  # when `current` was last the newest there is; seconds since 1970
        self.unreachable_since: float | None = None  # since when the ledger does not answer; seconds since 1970
        self.swaps = {"loaded": 0, "failed": 0}  # by outcome

    @property
    def age(self) -> float | None:
        """Seconds since `current` was last known to be the newest; None without one."""
        return None if self.confirmed_at is None else max(0.0, time.time() - self.confirmed_at)
