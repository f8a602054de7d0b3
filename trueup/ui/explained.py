"""Explains predictions for the pages, beside their other work: one after the other, in a thread with a home of its own."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.exc import SQLAlchemyError

from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import TrueupError

if TYPE_CHECKING:
    from trueup.explain.explanation import Explanation

PATIENCE: Final = 20.0  # seconds for which a page waits; the first explanation also loads the libraries
_MOST: Final = 4  # explanations that wait or are at work
_LONGEST: Final = 500  # characters of a key
Asked = tuple[str, str, str, str]  # model, key, batch, version


class Explained:
    """Makes explanations. A page that waited too long finds its explanation at its next request."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._patience = settings, PATIENCE
        self._thread = ThreadPoolExecutor(1, "trueup-explain")
        self._made: dict[Asked, asyncio.Future[Explanation]] = {}

    async def values(self, name: str, query: dict[str, str]) -> dict[str, Any]:
        """What the page of a model shows: the explanation that was asked for, or the mistake."""
        asked = {field: query.get(field, "").strip()[:_LONGEST] for field in ("key", "batch", "version")}
        values: dict[str, Any] = {"name": name, "asked": asked, "done": None, "mistake": "", "columns": []}
        try:
            config = await asyncio.to_thread(load_model, self._settings.configs, name)
            values["columns"] = config.ingest.key
            if asked["key"]:
                wanted = (name, asked["key"], asked["batch"], asked["version"])
                values["done"] = await self._explanation(config, wanted)
        except TimeoutError:
            values["mistake"] = (
                f"This takes longer than {self._patience:g} s and goes on: ask again in a moment, or use "
                f"`trueup explain {name} KEY`."
            )
        except (TrueupError, SQLAlchemyError) as error:
            values["mistake"] = str(error)
        return values

    async def _explanation(self, config: ModelConfig, asked: Asked) -> Explanation:
        """Raises TimeoutError, and as `explain` does."""
        if asked not in self._made:
            self._made = {key: future for key, future in self._made.items() if not future.done()}
            if len(self._made) >= _MOST:
                raise TrueupError("Other explanations are being made: ask again in a moment.")
            loop = asyncio.get_running_loop()
            self._made[asked] = loop.run_in_executor(self._thread, self._explain, config, *asked[1:])
        future = self._made[asked]
        try:
            return await asyncio.wait_for(asyncio.shield(future), self._patience)
        finally:
            if future.done():
                self._made.pop(asked, None)

    def _explain(self, config: ModelConfig, key: str, batch: str, version: str) -> Explanation:
        from trueup.explain.explain import explain  # loads what trains models
        from trueup.home import Home
        from trueup.model import Model

        try:
            at = datetime.fromisoformat(batch) if batch else None
        except ValueError:
            raise TrueupError("A moment of the batch is written as 2013-04-01 or 2013-04-01T06:00.") from None
        if version and not (version.isdecimal() and len(version) < 10):
            raise TrueupError("A version is a number.")
        home = Home(self._settings, looks=True)
        try:
            return explain(Model(config, home), key, at, int(version) if version else None)
        finally:
            home.close()

    def stop(self) -> None:
        """Let what waits go."""
        self._thread.shutdown(wait=False, cancel_futures=True)
