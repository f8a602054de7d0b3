"""The history of a replay, landed and validated once, and the homes of the policies.

A policy's home has its own ledger, registry and results, and shares with the others what is the same for all: batches,
features, fits. A replay reads only the config of production.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4
from zoneinfo import ZoneInfo

import pandas as pd
from filelock import FileLock

from trueup.adapters import parquet
from trueup.adapters.fit_cache import Shelf
from trueup.adapters.sql.engines import copy_sqlite
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.data.digest import config_digest, digest_of
from trueup.domain.data.periods import complete_periods
from trueup.domain.types import Window
from trueup.errors import NoData, WorkError
from trueup.home import Home
from trueup.model import Model
from trueup.stages.ingest import land
from trueup.stages.ingest_labels import joining
from trueup.stages.validate import validate

SHARED = ("batches", "features", "quarantine")
DATABASES = ("trueup.db", "mlflow.db")
READY = "ready"


@dataclass(frozen=True)
class Sandbox:
    """A landed history, and the places of a replay."""

    settings: Settings  # without keys and passwords, because other processes and machines get it
    folder: Path  # of the replay
    span: Window
    known_then: bool = False  # use what the home had landed by each moment, not today's source

    def place(self, config: ModelConfig) -> Path:
        """The place of the history for a config: another label delay or period makes another."""
        seen = config.model_dump(mode="json", by_alias=True, include={"ingest", "validation"})
        return self.folder / "histories" / digest_of([seen, config.input_columns, config.numeric_columns])[:16]

    def measured(self, config: ModelConfig, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """Measurements of the first policy that hold for all policies."""
        of = config.model_dump(mode="json", by_alias=True, include={"features": True, "monitor": {"decay"}})
        file = self.place(config) / f"yardsticks-{digest_of([of, config.train.seed])[:16]}.parquet"
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                parquet.write(parquet.to_table(measure()), file, durable=False)
        return parquet.to_pandas(parquet.read(file))

    def opened(self, folder: Path) -> Home:
        home = Home(self.settings.apart(folder))
        home.fits = Shelf(self.folder / "fits")
        return home

    def lay_out(self, config: ModelConfig, origin: Home | None = None) -> list[datetime]:
        """Land and validate the history unless that is done; return the moments at which the loop turns.

        These are the ends of the batches or, if later, when they were known. `origin` is the home with the data that
        was known then. Raises NoData, SourceError.
        """
        place = self.place(config)
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            home = self.opened(place)
            try:
                if not (place / READY).exists():
                    if self.known_then:
                        self._adopt(Model(config, home), origin)
                    else:
                        self._land(Model(config, home))
                    (place / READY).write_text(uuid4().hex)  # names this history, among those laid out elsewhere
                return self._turns(Model(config, home))
            finally:
                home.close()

    def _land(self, model: Model) -> None:
        extent, until = model.home.source(model.config).extent(), model.complete_until()
        if extent is None or until is None or not (windows := self._windows(model.config, extent[0], until)):
            content = f"{extent[0]:%Y-%m-%d} to {extent[1]:%Y-%m-%d}" if extent else "nothing"
            raise NoData(f"{model.config.model}: no complete batch in {self.span}; the source holds {content}")
        at(model, self.span.end)
        joined = joining(model, [], self.span.end, windows)
        for window in windows:
            land(model, window, joined)
        for batch in model.batches(self.span.end):
            validate(model, batch, batch.window.end)
        model.home.tracking.client.search_experiments(max_results=1)  # its database is made once, and copied

    def _adopt(self, model: Model, origin: Home | None) -> None:
        """Take over all revisions that the home has landed, without its judgements."""
        if origin is None:
            raise WorkError(f"{self.folder} was removed while it was played; run the replay again")
        model.home.store.adopt(origin.store, [model.config.rows_dataset, model.config.labels_dataset])
        if not self._turns(model):
            raise NoData(
                f"{model.config.model}: the home had landed no batch of {self.span} by its end; --known-then needs the time in which the "
                "home ran: choose a later span, or replay without --known-then"
            )
        model.home.tracking.client.search_experiments(max_results=1)

    def _turns(self, model: Model) -> list[datetime]:
        windows = [b.window for b in model.batches(self.span.end) if b.window.start >= self.span.start]
        if not self.known_then:
            return [w.end for w in windows]
        zone, landed_at = ZoneInfo(model.config.ingest.timezone), dict[Window, datetime]()
        for window, landed in model.home.store.landings(model.config.rows_dataset):
            local = landed.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) + timedelta(seconds=1)
            landed_at.setdefault(window, local)  # the first one; later corrections are seen at the next turn
        return sorted({max(w.end, landed_at[w]) for w in windows})

    def _windows(self, config: ModelConfig, first: datetime, until: datetime) -> list[Window]:
        windows = complete_periods(max(first, self.span.start), min(until, self.span.end), config.ingest.period)
        return [w for w in windows if w.start >= self.span.start]

    def folder_of(self, config: ModelConfig, origin: Home | None = None) -> Path:
        """The home in which a config is played; started with a copy of what was landed. Raises like `lay_out`."""
        home = self.folder / "homes" / config_digest(config)[:16]
        with FileLock(home.with_suffix(".lock")):
            if not (home / READY).exists():
                self.lay_out(config, origin)
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir(parents=True)
                place = self.place(config)
                for name in SHARED:
                    (place / name).mkdir(exist_ok=True)
                    (home / name).symlink_to(place / name, target_is_directory=True)
                for name in DATABASES:
                    copy_sqlite(place / name, home / name)
                (home / READY).touch()
        return home


def at(model: Model, as_of: datetime) -> None:
    """Set the sandbox's clock, which ages its data by the replayed time."""
    moment = as_of.replace(tzinfo=ZoneInfo(model.config.ingest.timezone)).astimezone(UTC)
    model.home.now = lambda: moment
