"""The figures for Prometheus beside the pages, which do not wait for a scrape."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

from trueup.adapters.sql.postgresql import fail_at_once
from trueup.config.settings import Settings
from trueup.home import Home
from trueup.metrics.text import text


class Scrapes:
    """Makes the figures in a thread of its own, with a home of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._thread = ThreadPoolExecutor(1, "trueup-metrics")
        self._home: Home | None = None
        self._beside: Home | None = None  # the home of the pages at that time

    async def text(self, current: Home | None) -> bytes:
        """The figures; `current` is the home of the pages, None while there is none."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._text, current)

    async def stop(self) -> None:
        """Let go of the home."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _text(self, current: Home | None) -> bytes:
        if self._home is None or current is not self._beside:  # it was replaced, or is there at last
            self._close()
            self._home, self._beside = Home(self._settings, looks=True), current
            fail_at_once(self._home.engine)
        try:
            return text(self._home)
        finally:
            if current is None:
                self._close()

    def _close(self) -> None:
        if self._home is not None:
            self._home.close()
        self._home = None
