"""A home with the shipped model of the flights for the servers, and requests of the days after its training."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.bare import Bare, source_of
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID
from trueup.home import Home

MODEL = "flight_delays"
TRAINED = datetime(2013, 3, 1)  # as_of of its first champion, from January and February
_SERVE = "\nserve: "  # last in the config
_ROOT = Path(__file__).parents[2]
_DAYS = 3  # of requests, about 2,500 flights


@dataclass(frozen=True)
class FlightsHome:
    """A home whose model has a champion, and what clients send."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def configs(self) -> Path:
        return self.folder / "configs"

    @property
    def environment(self) -> dict[str, str]:
        """The variables that lead a command to this home."""
        return {
            "TRUEUP_HOME": str(self.home),
            "TRUEUP_CONFIGS": str(self.configs),
            "TRUEUP_REPORTS": "false",
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
        }

    def command(self, *words: str) -> str:
        """Run `trueup` with these words; returns its output. Raises RuntimeError, with what it said, when it fails."""
        return self._run("-m", "trueup", *words)

    def _run(self, *words: str) -> str:
        environment = {**os.environ, **self.environment}
        call = [sys.executable, "-W", "ignore", *words]
        done = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def serve(self, section: Mapping[str, Any], *, publish: bool = True) -> None:
        """Write the section `serve` of the model's config, and publish the model to servers."""
        file = self.configs / f"{MODEL}.yaml"
        text = file.read_text(encoding="utf-8").partition(_SERVE)[0]
        file.write_text(f"{text}{_SERVE}{json.dumps(dict(section))}\n", encoding="utf-8")
        if publish:
            self.online()

    def online(self, *words: str) -> str:
        """Publish the model to servers, or what the words say, as servers do it: in a process of its own."""
        return self._run("-m", "trueup.online", MODEL, *words)

    def drain(self) -> None:
        """Store what servers logged."""
        self.online("--drain")

    def token(self, name: str, scope: str) -> str:
        """A new token of that scope; one of the same name is revoked."""
        if name in self.command("token", "list"):
            self.command("token", "revoke", name)
        return self.command("token", "add", name, "--scope", scope).split()[-1]

    def champion_uri(self) -> str:
        """The folder with the champion's files in MLflow."""
        home = Home(Settings(home=self.home, configs=self.configs), looks=True)
        try:
            champion = home.ledger.champion(MODEL)
            assert champion is not None
            assert champion.entry.body.model is not None
            return str(champion.entry.body.model.uri)
        finally:
            home.close()

    def bodies(self, name: str) -> Path:
        """The file with the requests of that name, one JSON text a line."""
        return self.folder / f"{name}.jsonl"


def made(folder: Path) -> FlightsHome:
    """The home in a folder, made there at the first call."""
    flights = FlightsHome(folder.resolve())
    if not flights.configs.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(_ROOT / "configs", flights.configs, ignore=shutil.ignore_patterns("__pycache__"))
        as_of = TRAINED.date().isoformat()
        flights.command("run", MODEL, "--as-of", as_of, "--retrain", "never")
        flights.command("retrain", MODEL, "--as-of", as_of)
        _write_requests(flights)
    return flights


def _write_requests(flights: FlightsHome) -> None:
    """Write the same flights as requests to Trueup (`rows`) and to `mlflow models serve` (`mlflow`)."""
    config = load_model(flights.configs, MODEL)
    year = Bare(config, source_of(config, str(flights.configs)))
    for month in (1, 2):
        year.load(datetime(2013, month, 1), datetime(2013, month + 1, 1))
    until = TRAINED + timedelta(days=_DAYS)
    features = year.load(TRAINED, until).drop(columns=[ROW_ID, EVENT_TIME, KNOWN_AT, LABEL])
    write_rows(flights, "rows", TRAINED, until)
    names = list(features.columns)
    _lines(
        flights.bodies("mlflow"),
        ({"dataframe_split": {"columns": names, "data": [list(row.values())]}} for row in plain(features)),
    )


def write_rows(flights: FlightsHome, name: str, since: datetime, until: datetime) -> None:
    """Write the flights of a span in time order as requests to Trueup, without what is known later."""
    config = load_model(flights.configs, MODEL)
    rows = Bare(config, source_of(config, str(flights.configs))).read(since, until)
    wanted = {*config.ingest.key, config.ingest.time, *config.features.numeric, *config.features.categorical}
    wanted |= {column for spec in config.features.history for names in spec.by for column in _names(names)}
    wanted.discard(config.ingest.label.column)
    _lines(flights.bodies(name), ({"row": row} for row in plain(rows[[c for c in rows.columns if c in wanted]])))


def _names(by: Any) -> list[str]:
    return [by] if isinstance(by, str) else list(by)


def plain(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON has them: times as ISO text, None for what is missing."""
    times = frame.select_dtypes("datetime").columns
    texts = frame.assign(**{name: frame[name].dt.strftime("%Y-%m-%dT%H:%M:%S") for name in times}).astype(object)
    rows = texts.where(frame.notna(), None).to_dict("records")
    return [{name: v.item() if isinstance(v, np.generic) else v for name, v in row.items()} for row in rows]


def _lines(file: Path, bodies: Any) -> None:
    file.write_text("".join(json.dumps(body, separators=(",", ":")) + "\n" for body in bodies), encoding="utf-8")
