"""Everything outside the process that belongs to one home, opened at first use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from uuid import uuid4
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from trueup.adapters.background import Background, NoReports, shared
from trueup.adapters.files.belonging import require_one_home
from trueup.adapters.files.local import LocalFiles
from trueup.adapters.files.port import Files
from trueup.adapters.files.scratch import Scratch, Shared, Unshared
from trueup.adapters.git import account
from trueup.adapters.home import make_home
from trueup.adapters.sql.engines import clock_of, connect, connect_to_look, initialise
from trueup.adapters.sql.lock import alone
from trueup.adapters.store import Store
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.digest import digest_of
from trueup.domain.lineage import Parent
from trueup.domain.monitoring.batch_profile import Profile
from trueup.domain.types import Actor, Batch
from trueup.errors import LedgerError
from trueup.ledger.ledger import Ledger
from trueup.ledger.signing import Keys, Signer, open_signer
from trueup.ledger.tables import METADATA
from trueup.ledger.write_once import made_once

if TYPE_CHECKING:
    import pandas as pd

    from trueup.adapters.dask.cluster import Cluster
    from trueup.adapters.fit_cache import Fits
    from trueup.adapters.mlflow.models import Registry
    from trueup.adapters.mlflow.runs import Tracking
    from trueup.adapters.openlineage import Lineage
    from trueup.adapters.sources.port import SourcePort
    from trueup.adapters.telemetry import Traces

HOME_TAG = "trueup.home"  # tag of MLflow's runs with the home that started them


_HANDLING = 6 * 3600.0  # seconds to wait for another run of the same model, which may train its first champion


_OF_A_MODEL = {"run": "run", "retrain": "retrain", "reconcile": "alias", "serve": "serving", "run, draining": "drain"}


class Ahead(Protocol):
    """Predictions of batches that are made elsewhere."""

    def take(self, batch: Batch, version: Any, /) -> pd.DataFrame | None:
        """The predictions of a batch by a version, once; None if they are not made elsewhere."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)


def identity_of(url: str | sa.URL, home: Path, *, keep: bool = True) -> str:
    """A unique name of a home's database: for PostgreSQL its place, else an id in the home."""
    database = sa.make_url(url)
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
        self.now = self._common_clock  # with offset; only for retention and expiry
        self.actor = Actor(
            "process", account(), account(), "a program"
        )  # default until a flow or the CLI identifies itself
        self.root: Path = self.settings.root
        self.configs: Path = self.settings.configs
        self.profiles: dict[tuple[str, int], Profile] = {}  # profiles of batches, by columns and landing sequence
        self.parent: Parent | None = None  # of the stages' lineage: the flow run or command at work
        self.ahead: Ahead | None = None  # predictions that a cluster makes before the loop comes to their batches
        self.estimators: OrderedDict[str, Any] = OrderedDict()  # of performance without labels, see `stages.monitoring`
        self.kept: dict[str, Any] = {}  # what a reader of the whole home keeps for its next look
        self._sources: dict[str, SourcePort] = {}
        self._label_sources: dict[str, SourcePort | None] = {}

    def _common_clock(self) -> datetime:
        """The wall clock. Machines that share a home on PostgreSQL go by the server's, whatever their own ones show."""
        return _wall_clock() + self._ahead

    @cached_property
    def _ahead(self) -> timedelta:
        """How far the database's clock is ahead of this machine's."""
        return clock_of(self.engine) - _wall_clock() if self.shared else timedelta(0)

    @property
    def shared(self) -> bool:
        """Whether several machines may use this home: its database is a server."""
        return sa.make_url(self.settings.database).get_backend_name() == "postgresql"

    @property
    def second_look(self) -> timedelta:
        """How long after the first look a file is removed that is unneeded: on one machine a removal excludes runs."""
        return self.settings.longest_run if self.shared else timedelta(0)

    @cached_property
    def engine(self) -> sa.Engine:
        if self.looks:
            return connect_to_look(self.settings.database)
        make_home(self.root)
        return connect(self.settings.database)

    @cached_property
    def files(self) -> Files:
        """The home's files, by keys relative to the home."""
        if (address := self.settings.address) is None:
            return LocalFiles(self.root)
        from trueup.adapters.files.address import open_bucket

        return open_bucket(address, self.root / "copies", self.settings.cache_mib * 2**20)

    def sharing(self, *places: Path, fetch: bool = False) -> AbstractContextManager[None]:
        """Share with other machines what the block writes or removes in files or folders below `root`.

        With `fetch` these begin as they are in the home. In a home in a folder they are the home's files themselves.
        """
        return self._scratch.sharing(places, fetch)

    def fetched(self, place: Path) -> Path:
        """A file or folder below `root` as it is in the home, which may be in an object store. It may be missing."""
        self._scratch.fetch(place)
        return place

    @cached_property
    def _scratch(self) -> Scratch:
        return Unshared() if self.settings.address is None else Shared(self.files, self.root)

    @cached_property
    def store(self) -> Store:
        """Raises UsageError for a bucket with the files of another home than the database's."""
        if self.settings.address is not None:
            require_one_home(self.files, self.engine)
        return Store(self.files, self.engine)

    @cached_property
    def signer(self) -> Signer:
        """The key that signs the ledger's entries, and bundles. Raises LedgerError as `open_signer` does."""
        s = self.settings
        keys = Keys(s.ledger_key, s.ledger_key_file, s.ledger_earlier_keys, s.ledger_public_keys)
        if s.address is not None and not keys.names_private and keys.public is None:
            raise LedgerError(
                f"the home {s.address} needs a key for the ledger that its bucket and database do not have: set TRUEUP_LEDGER_KEY "
                "or TRUEUP_LEDGER_KEY_FILE to the same one on each machine; "
                '`python -c "import secrets; print(secrets.token_hex(32))"` makes one'
            )
        if self.looks:
            return open_signer(self.root, keys, keep=False)
        initialise(self.engine, METADATA)
        newest = Ledger(self.engine).entries(limit=1)
        return open_signer(self.root, keys, signed_with=newest[0].key_id if newest else None)

    @cached_property
    def ledger(self) -> Ledger:
        initialise(self.engine, METADATA)
        return Ledger(self.engine, lambda: self.now(), (lambda: self.signer) if self.looks else self.signer)

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

        return Fits(self.cluster)

    @cached_property
    def cluster(self) -> Cluster | None:
        """The Dask cluster for work in parts; None without TRUEUP_DASK."""
        if (address := self.settings.dask) is None:
            return None
        from trueup.adapters.dask.cluster import Cluster

        return Cluster(address, self.settings.dask_plain_fits)

    @cached_property
    def lineage(self) -> Lineage | None:
        """Sends the lineage of stages; None without an address, see `Settings.lineage`."""
        if (address := self.settings.lineage) is None:
            return None
        from trueup.adapters.openlineage import open_lineage

        return open_lineage(address)

    @cached_property
    def traces(self) -> Traces | None:
        """Sends the spans of turns to OpenTelemetry, if the environment asks for it; see `Settings.traces`."""
        if not self.settings.traces:
            return None
        from trueup.adapters.telemetry import open_traces

        return open_traces()

    @cached_property
    def background(self) -> Background:
        """The process that renders reports, if there are any."""
        return shared() if self.settings.reports else NoReports()

    @cached_property
    def identity(self) -> str:
        """A unique name of this home's database, for records in places shared with others."""
        return identity_of(self.settings.database, self.root, keep=not self.looks)

    def local_now(self, config: ModelConfig) -> datetime:
        """The wall clock in the model's time zone, without offset; later data cannot be known."""
        return self.now().astimezone(ZoneInfo(config.ingest.timezone)).replace(tzinfo=None)

    def handling(self, model: str, wait: bool = True) -> AbstractContextManager[bool]:
        """Hold the lock on a model's batches for the block; False if another holder has not ended within hours.

        Without `wait`, False at once if there is another holder.
        """
        return alone(self.engine, f"run-{model}", wait=_HANDLING if wait else 0)

    def retraining(self, model: str) -> AbstractContextManager[bool]:
        """Try to hold a model's retrain lock for the block; False if another process has it."""
        return alone(self.engine, f"retrain-{model}")

    def draining(self, model: str) -> AbstractContextManager[bool]:
        """Hold the lock on a model's prediction log for the block; False if another holder continues for minutes."""
        return alone(self.engine, f"drain-{model}", wait=300)

    def aligning(self, model: str) -> AbstractContextManager[bool]:
        """Hold the lock on a model's alias for the block; False if another holder has not ended within a minute."""
        return alone(self.engine, f"alias-{model}", wait=60)

    def alone_with_files(self) -> AbstractContextManager[bool]:
        """Try to hold the lock on removing files, or on relying on none being removed, for the block."""
        return alone(self.engine, "files")

    def alone_with_anchors(self) -> AbstractContextManager[bool]:
        """Hold the lock on the ledger's anchors, for writing or for relying on them; False if another holder continues."""
        return alone(self.engine, "anchors", wait=30)

    def alone_with_bundles(self) -> AbstractContextManager[bool]:
        """Hold the lock on writing bundles for the block; False if another holder has not ended within a minute."""
        return alone(self.engine, "bundles", wait=60)

    def drawing(self) -> AbstractContextManager[bool]:
        """Hold the lock on pages that several machines draw; False if another holder continues for minutes."""
        return alone(self.engine, "pages", wait=300)

    def publishing(self, model: str) -> AbstractContextManager[bool]:
        """Hold the lock on what servers of a model load for the block; False if another holder has not ended in minutes."""
        return alone(self.engine, f"serving-{model}", wait=300)

    def forget(self) -> None:
        """Let go of what was read for models, so that the memory of a fleet does not grow with each of them."""
        self.profiles.clear()
        self.estimators.clear()
        self._sources.clear()
        self._label_sources.clear()
        if "store" in self.__dict__:
            self.store.forget()

    def locks(self, models: Iterable[str]) -> dict[str, AbstractContextManager[bool]]:
        """All locks of this home, by what holds them; each is tried once, without a wait."""
        names = {f"`trueup {word}` of {m}": f"{lock}-{m}" for m in models for word, lock in _OF_A_MODEL.items()}
        names |= {
            "`trueup gc` or `backup`": "files",
            "a run": "anchors",
            "`trueup export`": "bundles",
            "a notice": "notify",
        }
        return {what: alone(self.engine, name) for what, name in names.items()}

    def close(self) -> None:
        """Close the database and the connection to a cluster. Reports continue."""
        if (cluster := self.__dict__.get("cluster")) is not None:
            cluster.close()
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
