"""A home with a made-up stream of data, and the loop turned in it without an orchestrator."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from tests import streams
from trueup.adapters.background import NoReports
from trueup.config.load import load_model
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.types import Window
from trueup.handoffs import Cycle
from trueup.home import Home
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import Model

if TYPE_CHECKING:
    from tests.shared import SharedHomes

# Little data makes a refit move far; that is not what is looked at here.
CONFIG = streams.CONFIG.replace("resamples: 500", "resamples: 300").replace(
    "  min_new_days: 6\n", "  min_new_days: 6\n  max_refit_shift: 1\n"
)
# The families and the loop do not depend on history features; without them a story is quicker.
PLAIN = CONFIG.replace("  history:\n    - {name: rate, by: [group], windows: [7 days]}\n", "")

OPENED: list[Home] = []  # those of a test are closed after it
SHARED: list[SharedHomes] = []  # where stories have their homes with `pytest --homes shared`; else in folders


class Story:
    """A folder with configs, data and a home."""

    places: Mapping[str, object] = MappingProxyType({})

    def __init__(self, folder: Path, frame: pd.DataFrame, config: str = PLAIN, **places: object) -> None:
        """With `places`, the home and its databases lie elsewhere (settings)."""
        self.folder, self.frame = folder, frame
        self.places = places or (SHARED[0].new(folder) if SHARED else {})
        self.configs = streams.write(folder, frame, config)
        self.open()

    def open(self) -> None:
        """Open the home anew, as another process would find it."""
        self.home = Home(Settings(**{"home": self.folder / "home", "configs": self.configs, **self.places}))
        self.home.background = NoReports()  # cached: set before it is first used
        OPENED.append(self.home)

    @property
    def config(self) -> ModelConfig:
        """The config as it stands in the file."""
        return load_model(self.configs, "toy")

    @property
    def model(self) -> Model:
        """The model of that config in this home."""
        return Model(self.config, self.home)

    def source(self, frame: pd.DataFrame) -> None:
        """Change what the source holds."""
        self.frame = frame
        frame.to_csv(self.configs / "data" / "stream.csv", index=False)

    def turn(self, week: int) -> Cycle:
        """One turn of the loop when so many weeks are complete."""
        return cycle(steps, self.model, streams.week(week))

    def later(self, **span: float) -> None:
        """Let the wall clock be so much on."""
        self.home.now = lambda: datetime.now(UTC) + timedelta(**span)

    def branch(self, folder: Path) -> Story:
        """A copy to go on with. Its models still lie in the first home, where they are only read."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        return Story.at(folder, self.frame, **(SHARED[0].copied(dict(self.places), folder) if SHARED else {}))

    @classmethod
    def at(cls, folder: Path, frame: pd.DataFrame, **places: object) -> Story:
        """The story in a folder, as another process would find it; with `places` as for a new one."""
        other = object.__new__(cls)
        other.folder, other.frame, other.configs, other.places = folder, frame, folder / "configs", places
        other.open()
        return other

    def predictions(self, week: int) -> pd.DataFrame:
        """What was served for a week."""
        return self.home.store.read_predictions("toy", window(week))

    def batch(self, week: int):
        """The newest revision of a week."""
        return next(b for b in self.model.batches(streams.week(99)) if b.window == window(week))

    def facts(self) -> dict[str, object]:
        """All that a second run must not change."""
        store = self.home.store
        return {
            "entries": [e.hash for e in self.home.ledger.entries("toy")],
            "results": [
                (s, r.window, r.revision, r.as_of)
                for s in ("validate", "monitor", "run")
                for r in store.results("toy", s, dict)
            ],
            "landed": [b.sequence for d in ("toy/rows", "toy/labels") for b in store.batches(d)],
            "predictions": [len(self.predictions(w)) for w in range(20)],
            "files": sorted(e.key for folder in ("batches", "predictions") for e in self.home.files.listed(folder))
            if SHARED
            else sorted(str(p.relative_to(self.folder)) for p in self.folder.rglob("*.parquet")),
        }


def window(week: int) -> Window:
    """The span of a week, counted from 0."""
    return Window(streams.week(week), streams.week(week + 1))


def in_week(frame: pd.DataFrame, week: int) -> pd.Series:
    """Which rows happened in a week."""
    return (frame["t"] >= streams.week(week)) & (frame["t"] < streams.week(week + 1))


def stream(days: int, **changes: object) -> pd.DataFrame:
    """A stream's rows."""
    return replace(streams.Stream(days=days), **changes).frame()
