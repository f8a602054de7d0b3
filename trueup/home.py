"""The outside world of one home, opened when first used."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from trueup.adapters.background import Background, NoReports, shared
from trueup.adapters.git import account
from trueup.adapters.home import make_home
from trueup.adapters.sql.engines import connect, connect_to_look, initialise
from trueup.adapters.sql.lock import alone
from trueup.adapters.store import Store
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.digest import digest_of
from trueup.domain.data.types import Actor
from trueup.domain.monitoring.batch_profile import Profile
from trueup.ledger.ledger import Ledger
from trueup.ledger.signing import Signer, open_signer
from trueup.ledger.tables import METADATA
from trueup.ledger.write_once import made_once

if TYPE_CHECKING:
    from trueup.adapters.fit_cache import Fits
    from trueup.adapters.mlflow.models import Registry
    from trueup.adapters.mlflow.runs import Tracking
    from trueup.adapters.sources.port import SourcePort

HOME_TAG = "trueup.home"  # on MLflow's runs: which home began them


_HANDLING = 6 * 3600.0  # seconds that a run waits for another of the same model, which may train its first champion


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def identity_of(database: sa.URL, home: Path, *, keep: bool = True) -> str:
    """A name of a home's database that no other has: of PostgreSQL's its place, else what is kept in the home."""
    if database.get_backend_name() == "postgresql":
        return digest_of([database.host, database.port, database.database, dict(database.query)])[:32]
    return made_once(home / "home.id", lambda: uuid4().hex, keep=keep)


class Home:
    """Store, ledger, registry and sources of one home. Opening is lazy: a command pays only for what it uses.

    With `looks` nothing in the home is written, made or locked: one that does not exist, or may not be written, can be
    looked at.
    """

    def __init__(self, settings: Settings | None = None, *, looks: bool = False) -> None:
        self.settings = settings or Settings()
        self.looks = looks
        self.now = _wall_clock  # with offset; what is kept and who is waited for grows old by it, nothing else
        self.actor = Actor(
            "process", account(), account(), "a program"
        )  # who does not say so is none of the other kinds
        self.root: Path = self.settings.root
        self.configs: Path = self.settings.configs
        self.profiles: dict[tuple[str, int], Profile] = {}  # of batches, by what is summed up and landing sequence
        self._sources: dict[str, SourcePort] = {}
        self._label_sources: dict[str, SourcePort | None] = {}

    @cached_property
    def engine(self) -> sa.Engine:
        """The database of ledger and state."""
        if self.looks:
            return connect_to_look(self.settings.database)
        make_home(self.root)
        return connect(self.settings.database)

    @cached_property
    def store(self) -> Store:
        """Batches, predictions and results."""
        return Store(self.root, self.engine)

    @cached_property
    def ledger(self) -> Ledger:
        """Decisions."""
        initialise(self.engine, METADATA)
        s = self.settings

        def signer() -> Signer:
            return open_signer(self.root, s.ledger_key, s.ledger_earlier_keys, keep=not self.looks)

        return Ledger(self.engine, lambda: self.now(), signer if self.looks else signer())

    @cached_property
    def tracking(self) -> Tracking:
        """MLflow's runs."""
        from trueup.adapters.mlflow.runs import Tracking

        return Tracking(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def registry(self) -> Registry:
        """MLflow's models."""
        from trueup.adapters.mlflow.models import Registry

        return Registry(self.tracking)

    @cached_property
    def fits(self) -> Fits:
        """What fits pipelines; a replay shares fits among policies."""
        from trueup.adapters.fit_cache import Fits

        return Fits()

    @cached_property
    def background(self) -> Background:
        """The process in which reports are rendered, where they are wanted."""
        return shared() if self.settings.reports else NoReports()

    @cached_property
    def identity(self) -> str:
        """A name of this home's database that no other has, for what is written to places shared with others."""
        return identity_of(sa.make_url(self.settings.database), self.root, keep=not self.looks)

    def local_now(self, config: ModelConfig) -> datetime:
        """The wall clock in the model's time zone, without offset: nobody knows anything of what comes after."""
        return self.now().astimezone(ZoneInfo(config.ingest.timezone)).replace(tzinfo=None)

    def handling(self, model: str) -> AbstractContextManager[bool]:
        """Be the one that handles a model's batches for the block; False when another has not ended within hours."""
        return alone(self.engine, f"run-{model}", wait=_HANDLING)

    def retraining(self, model: str) -> AbstractContextManager[bool]:
        """Try to be the one that retrains a model for the block; False when another is at it."""
        return alone(self.engine, f"retrain-{model}")

    def aligning(self, model: str) -> AbstractContextManager[bool]:
        """Be the one that writes a model's alias for the block; False when another has not ended within a minute."""
        return alone(self.engine, f"alias-{model}", wait=60)

    def alone_with_files(self) -> AbstractContextManager[bool]:
        """Try to be the one that removes files, or relies on none being removed, for the block."""
        return alone(self.engine, "files")

    def alone_with_anchors(self) -> AbstractContextManager[bool]:
        """Be the one that writes the ledger's anchors, or relies on none being written; False when another goes on."""
        return alone(self.engine, "anchors", wait=30)

    def close(self) -> None:
        """Let the database go. Reports go on being rendered."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    def source(self, config: ModelConfig) -> SourcePort:
        """The source of a model's data."""
        from trueup.adapters.sources import open_source

        if config.model not in self._sources:
            self._sources[config.model] = open_source(config.reading, self.configs)
        return self._sources[config.model]

    def label_source(self, config: ModelConfig) -> SourcePort | None:
        """The source of a model's outcomes, None where they stand beside its rows."""
        from trueup.adapters.sources import open_source

        if config.model not in self._label_sources:
            reading = config.label_reading
            self._label_sources[config.model] = None if reading is None else open_source(reading, self.configs)
        return self._label_sources[config.model]
