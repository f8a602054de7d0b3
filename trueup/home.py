"""Everything outside the process that belongs to one home, opened at first use."""

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
from trueup.domain.monitoring.batch_profile import Profile
from trueup.domain.types import Actor
from trueup.ledger.ledger import Ledger
from trueup.ledger.signing import Signer, open_signer
from trueup.ledger.tables import METADATA
from trueup.ledger.write_once import made_once

if TYPE_CHECKING:
    from trueup.adapters.fit_cache import Fits
    from trueup.adapters.mlflow.models import Registry
    from trueup.adapters.mlflow.runs import Tracking
    from trueup.adapters.sources.port import SourcePort

HOME_TAG = "trueup.home"  # tag of MLflow's runs with the home that started them


_HANDLING = 6 * 3600.0  # seconds to wait for another run of the same model, which may train its first champion


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def identity_of(database: sa.URL, home: Path, *, keep: bool = True) -> str:
    """A unique name of a home's database: for PostgreSQL its place, else an id in the home."""
    if database.get_backend_name() == "postgresql":
        return digest_of([database.host, database.port, database.database, dict(database.query)])[:32]
    return made_once(home / "home.id", lambda: uuid4().hex, keep=keep)


class Home:
    """Store, ledger, registry and sources of one home. Opening is lazy: a command only pays for what it uses.

    With `looks` nothing in the home is written, created or locked, so a missing or read-only home can be read.
    """

    def __init__(self, settings: Settings | None = None, *, looks: bool = False) -> None:
        self.settings = settings or Settings()
        self.looks = looks
        self.now = _wall_clock  # with offset; only for retention and expiry
        self.actor = Actor(
            "process", account(), account(), "a program"
        )  # default until a flow or the CLI identifies itself
        self.root: Path = self.settings.root
        self.configs: Path = self.settings.configs
        self.profiles: dict[tuple[str, int], Profile] = {}  # profiles of batches, by columns and landing sequence
        self._sources: dict[str, SourcePort] = {}
        self._label_sources: dict[str, SourcePort | None] = {}

    @cached_property
    def engine(self) -> sa.Engine:
        if self.looks:
            return connect_to_look(self.settings.database)
        make_home(self.root)
        return connect(self.settings.database)

    @cached_property
    def store(self) -> Store:
        return Store(self.root, self.engine)

    @cached_property
    def ledger(self) -> Ledger:
        initialise(self.engine, METADATA)
        s = self.settings

        def signer() -> Signer:
            return open_signer(self.root, s.ledger_key, s.ledger_earlier_keys, keep=not self.looks)

        return Ledger(self.engine, lambda: self.now(), signer if self.looks else signer())

    @cached_property
    def tracking(self) -> Tracking:
        from trueup.adapters.mlflow.runs import Tracking

        return Tracking(self.settings.tracking_uri, self.settings.artifact_root)

    @cached_property
    def registry(self) -> Registry:
        from trueup.adapters.mlflow.models import Registry

        return Registry(self.tracking)

    @cached_property
    def fits(self) -> Fits:
        """Fits pipelines; a replay shares fits among policies."""
        from trueup.adapters.fit_cache import Fits

        return Fits()

    @cached_property
    def background(self) -> Background:
        """The process that renders reports, if there are any."""
        return shared() if self.settings.reports else NoReports()

    @cached_property
    def identity(self) -> str:
        """A unique name of this home's database, for records in places shared with others."""
        return identity_of(sa.make_url(self.settings.database), self.root, keep=not self.looks)

    def local_now(self, config: ModelConfig) -> datetime:
        """The wall clock in the model's time zone, without offset; later data cannot be known."""
        return self.now().astimezone(ZoneInfo(config.ingest.timezone)).replace(tzinfo=None)

    def handling(self, model: str) -> AbstractContextManager[bool]:
        """Hold the lock on a model's batches for the block; False if another holder has not ended within hours."""
        return alone(self.engine, f"run-{model}", wait=_HANDLING)

    def retraining(self, model: str) -> AbstractContextManager[bool]:
        """Try to hold a model's retrain lock for the block; False if another process has it."""
        return alone(self.engine, f"retrain-{model}")

    def aligning(self, model: str) -> AbstractContextManager[bool]:
        """Hold the lock on a model's alias for the block; False if another holder has not ended within a minute."""
        return alone(self.engine, f"alias-{model}", wait=60)

    def alone_with_files(self) -> AbstractContextManager[bool]:
        """Try to hold the lock on removing files, or on relying on none being removed, for the block."""
        return alone(self.engine, "files")

    def alone_with_anchors(self) -> AbstractContextManager[bool]:
        """Hold the lock on the ledger's anchors, for writing or for relying on them; False if another holder continues."""
        return alone(self.engine, "anchors", wait=30)

    def close(self) -> None:
        """Close the database. Reports continue."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    def source(self, config: ModelConfig) -> SourcePort:
        from trueup.adapters.sources import open_source

        if config.model not in self._sources:
            self._sources[config.model] = open_source(config.reading, self.configs)
        return self._sources[config.model]

    def label_source(self, config: ModelConfig) -> SourcePort | None:
        """The source of a model's outcomes, None if they are beside its rows."""
        from trueup.adapters.sources import open_source

        if config.model not in self._label_sources:
            reading = config.label_reading
            self._label_sources[config.model] = None if reading is None else open_source(reading, self.configs)
        return self._label_sources[config.model]
