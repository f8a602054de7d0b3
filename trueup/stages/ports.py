"""The outside world of one home, opened when first used."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from trueup.adapters.background import Background, shared
from trueup.adapters.database import connect, initialise
from trueup.adapters.lock import alone, named_once
from trueup.adapters.sources import SourcePort, open_source
from trueup.adapters.store import Store
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.digest import digest_of
from trueup.ledger.ledger import Ledger
from trueup.ledger.tables import METADATA

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from trueup.adapters.registry import Registry
    from trueup.adapters.tracking import Tracking


HOME_TAG = "trueup.home"  # on MLflow's runs: which home began them


def _wall_clock() -> datetime:
    return datetime.now(UTC)


class Ports:
    """Store, ledger, registry and sources of one home. Opening is lazy: a command pays only for what it uses."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.now = _wall_clock  # with offset; approvals expire by it, nothing else does
        self.root: Path = self.settings.root
        self.configs: Path = self.settings.configs
        self._sources: dict[str, SourcePort] = {}

    @cached_property
    def engine(self) -> Engine:
        """The database of ledger and state."""
        self.root.mkdir(parents=True, exist_ok=True)
        return connect(self.settings.database)

    @cached_property
    def store(self) -> Store:
        """Batches, predictions and results."""
        return Store(self.root, self.engine)

    @cached_property
    def ledger(self) -> Ledger:
        """Decisions."""
        initialise(self.engine, METADATA)
        return Ledger(self.engine, lambda: self.now())

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow's runs."""
        from trueup.adapters.tracking import Tracking

        return Tracking(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def registry(self) -> Registry:
        """MLflow's models."""
        from trueup.adapters.registry import Registry

        return Registry(self.tracking)

    @cached_property
    def background(self) -> Background:
        """The process in which reports are rendered."""
        return shared()

    @cached_property
    def identity(self) -> str:
        """A name of this home's database that no other has, for what is written to places shared with others."""
        if self.engine.dialect.name == "postgresql":
            url = self.engine.url
            return digest_of([url.host, url.port, url.database, dict(url.query)])[:32]
        return named_once(self.root / "home.id")

    def retraining(self, model: str) -> AbstractContextManager[bool]:
        """Try to be the one that retrains a model for the block; False when another is at it."""
        return alone(self.engine, f"retrain-{model}")

    def close(self) -> None:
        """Let the database go. Reports go on being rendered."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    def source(self, config: ModelConfig) -> SourcePort:
        """The source of a model's data."""
        if config.model not in self._sources:
            self._sources[config.model] = open_source(config.ingest, self.configs)
        return self._sources[config.model]
