"""The history of a replay, landed and validated once, and the homes in which policies live through it.

A policy's home holds a ledger, a registry and results of its own, and shares with the others what they would all make
alike: batches, features, fits. Nothing of production is read but the config, or touched at all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
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
from trueup.domain.data.types import Window
from trueup.errors import NoData, WorkError
from trueup.home import Home
from trueup.model import Model
from trueup.stages.ingest import land
from trueup.stages.ingest_labels import joining
from trueup.stages.validate import validate

_SHARED = ("batches", "features", "quarantine")
_DATABASES = ("trueup.db", "mlflow.db")
_READY = "ready"


@dataclass(frozen=True)
class World:
    """A landed history, and where all that belongs to one replay lies."""

    settings: Settings  # without keys and passwords: it goes to other processes, on other machines perhaps
    folder: Path  # of the replay
    span: Window
    known_then: bool = False  # what the home had landed by each moment, instead of what the source holds today

    def place(self, config: ModelConfig) -> Path:
        """Where the history lies that a config sees: another label delay or period makes another."""
        seen = config.model_dump(mode="json", by_alias=True, include={"ingest", "validation"})
        return self.folder / "histories" / digest_of([seen, config.input_columns, config.numeric_columns])[:16]

    def measured(self, config: ModelConfig, measure: Callable[[], pd.DataFrame]) -> pd.DataFrame:
        """What the first policy of a history measures for all of them: what no policy has a part in."""
        of = config.model_dump(mode="json", by_alias=True, include={"features": True, "monitor": {"decay"}})
        file = self.place(config) / f"yardsticks-{digest_of([of, config.train.seed])[:16]}.parquet"
        with FileLock(file.with_suffix(".lock")):
            if not file.exists():
                parquet.write(parquet.to_table(measure()), file, durable=False)
        return parquet.to_pandas(parquet.read(file))

    def opened(self, folder: Path) -> Home:
        """The home in a folder of the replay."""
        found = Home(self.settings.apart(folder))
        found.fits = Shelf(self.folder / "fits")
        return found

    def lay_out(self, config: ModelConfig, origin: Home | None = None) -> list[datetime]:
        """Land and validate the history unless it is there; give the moments at which the loop turns.

        That is the end of each batch or, where it was known later, when it was known. `origin` is the home from which is
        taken what was known then. Raises NoData, SourceError.
        """
        place = self.place(config)
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / ".lock"):
            home = self.opened(place)
            try:
                if not (place / _READY).exists():
                    if self.known_then:
                        self._adopt(Model(config, home), origin)
                    else:
                        self._land(Model(config, home))
                    (place / _READY).touch()
                return self._turns(Model(config, home))
            finally:
                home.close()

    def _land(self, model: Model) -> None:
        extent, until = model.home.source(model.config).extent(), model.complete_until()
        if extent is None or until is None or not (windows := self._windows(model.config, extent[0], until)):
            said = f"{extent[0]:%Y-%m-%d} to {extent[1]:%Y-%m-%d}" if extent else "nothing"
            raise NoData(f"{model.config.model}: no complete batch in {self.span}; the source holds {said}")
        at(model, self.span.end)
        joined = joining(model, [], self.span.end, windows)
        for window in windows:
            land(model, window, joined)
        for batch in model.batches(self.span.end):
            validate(model, batch, batch.window.end)
        model.home.tracking.client.search_experiments(max_results=1)  # its database is made once, and copied

    def _adopt(self, model: Model, origin: Home | None) -> None:
        """Take over what the home has landed, all revisions of it, and nothing that was judged there."""
        if origin is None:
            raise WorkError(f"{self.folder} was removed while it was played; run the replay again")
        model.home.store.adopt(origin.store, [model.config.rows_dataset, model.config.labels_dataset])
        if not self._turns(model):
            raise NoData(
                f"{model.config.model}: the home had landed no batch of {self.span} by its end; it knows what was known then "
                "only of the time in which it ran, so replay without --known-then"
            )
        model.home.tracking.client.search_experiments(max_results=1)

    def _turns(self, model: Model) -> list[datetime]:
        windows = [b.window for b in model.batches(self.span.end) if b.window.start >= self.span.start]
        if not self.known_then:
            return [w.end for w in windows]
        zone, known = ZoneInfo(model.config.ingest.timezone), dict[Window, datetime]()
        for window, landed in model.home.store.landings(model.config.rows_dataset):
            local = landed.replace(tzinfo=UTC).astimezone(zone).replace(tzinfo=None) + timedelta(seconds=1)
            known.setdefault(window, local)  # the first one; what is corrected later is seen at the next turn
        return sorted({max(w.end, known[w]) for w in windows})

    def _windows(self, config: ModelConfig, first: datetime, until: datetime) -> list[Window]:
        found = complete_periods(max(first, self.span.start), min(until, self.span.end), config.ingest.period)
        return [w for w in found if w.start >= self.span.start]

    def folder_of(self, config: ModelConfig, origin: Home | None = None) -> Path:
        """The home in which a config lives through the history; begun with a copy of what was landed. Raises as `lay_out`."""
        home = self.folder / "homes" / config_digest(config)[:16]
        with FileLock(home.with_suffix(".lock")):
            if not (home / _READY).exists():
                self.lay_out(config, origin)
                shutil.rmtree(home, ignore_errors=True)
                home.mkdir(parents=True)
                place = self.place(config)
                for name in _SHARED:
                    (place / name).mkdir(exist_ok=True)
                    (home / name).symlink_to(place / name, target_is_directory=True)
                for name in _DATABASES:
                    copy_sqlite(place / name, home / name)
                (home / _READY).touch()
        return home


def at(model: Model, as_of: datetime) -> None:
    """Let it be that moment there: what is kept and waited for grows old by the time that is replayed."""
    moment = as_of.replace(tzinfo=ZoneInfo(model.config.ingest.timezone)).astimezone(UTC)
    model.home.now = lambda: moment
