"""What the pages know of a home: read once, then only what was recorded since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Final

import sqlalchemy as sa

from trueup.adapters.sql.engines import connect_to_look, database_file, has_table
from trueup.adapters.sql.postgresql import fail_at_once
from trueup.adapters.store.results import Result
from trueup.adapters.store.tables import RESULTS
from trueup.config.load import load_model, model_names
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.home import Home
from trueup.ledger.tables import DECISIONS
from trueup.model import MONITOR, Model
from trueup.ui.records import Line, Seen

SHOWN: Final = 24  # batches of a sparkline
_READ: Final = 30  # results that are read for them: a batch has one for each time its labels were looked at
_AT_ONCE: Final = 500  # entries that are read together
_OVERLAP: Final = 200  # numbers below the newest that may still become visible: transactions end in any order


@dataclass
class Facts:
    """What is known of one model."""

    name: str
    lines: list[Line] = field(default_factory=list)  # all entries, oldest first
    recent: list[Result[Seen]] = field(default_factory=list)  # the newest result of each of the last batches

    @property
    def newest(self) -> Result[Seen] | None:
        """The newest monitored batch."""
        return self.recent[-1] if self.recent else None


class Configs:
    """The configs of a folder. Reading one takes a while, so a page never waits for it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = Lock()
        self._read: dict[str, tuple[object, ModelConfig | str]] = {}

    def names(self) -> list[str]:
        """The models with a config."""
        return model_names(self.folder)

    def get(self, name: str) -> ModelConfig | str | None:
        """A config, what is wrong with it, or None while it has not been read."""
        with self._lock:
            found = self._read.get(name)
        return None if found is None else found[1]

    def read_changed(self) -> set[str]:
        """Read the configs that have changed since the last call; their names."""
        changed = set()
        for name in self.names():
            try:
                stat = (self.folder / f"{name}.yaml").stat()
            except OSError:
                continue
            state = (stat.st_mtime_ns, stat.st_size)
            with self._lock:
                known = self._read.get(name)
            if known is not None and known[0] == state:
                continue
            try:
                read: ModelConfig | str = load_model(self.folder, name)
            except TrueupError as error:
                read = str(error)
            with self._lock:
                self._read[name] = (state, read)
            changed.add(name)
        return changed


class Reader:
    """Reads a home, which may not exist yet. Not for several threads at once.

    `problem` says why the home cannot be read; what was read before stays.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.configs = Configs(settings.configs)
        self.facts: dict[str, Facts] = {}
        self.problem: str | None = None
        self._home: Home | None = None
        self._file: object = None
        self._seq = 0
        self._number: int | None = None  # of the newest result; None before the first look
        self._seen: set[int] = set()

    @property
    def home(self) -> Home | None:
        """The home, if it can be read."""
        return self._home

    def look(self) -> set[str]:
        """Read what was recorded since the last call; the models that it is about. Never raises for a home's failures."""
        try:
            home = self._opened()
            changed = set() if home is None else self._read(home)
        except (TrueupError, sa.exc.SQLAlchemyError, OSError) as error:
            self.close()
            self.problem = str(error).splitlines()[0]
            return set()
        self.problem = None
        return changed

    def asked(self, question: Callable[[Home], object]) -> object:
        """The answer of a home; None while there is none."""
        return None if self._home is None else question(self._home)

    def model(self, name: str) -> Model | None:
        """A model with a config that was read, in the home."""
        config = self.configs.get(name)
        return Model(config, self._home) if isinstance(config, ModelConfig) and self._home is not None else None

    def names(self) -> list[str]:
        """All models: with a config, or with a decision."""
        return sorted({*self.configs.names(), *self.facts})

    def now(self) -> datetime | None:
        """The home's wall clock, with offset."""
        return None if self._home is None else self._home.now()

    def close(self) -> None:
        """Let go of the home; the next look opens it again."""
        if self._home is not None:
            self._home.close()
        self._home = None

    def _opened(self) -> Home | None:
        """The home, opened again if its database was replaced; None while it has no tables."""
        state = None if (file := self._database()) is None or not file.exists() else file.stat().st_ino
        if self._home is not None and state != self._file:
            self.close()
        if self._home is None and (file is None or state is not None) and self._has_tables():
            if state != self._file:
                self._forget()
            self._home, self._file = Home(self.settings, looks=True), state
            fail_at_once(self._home.engine)
        return self._home

    def _database(self) -> Path | None:
        """The file of the home's database; None for a server's."""
        url = sa.make_url(self.settings.database)
        return database_file(url) if url.get_backend_name() == "sqlite" else None

    def _has_tables(self) -> bool:
        """Whether the database has all tables: an engine that only reads stands in for missing ones as long as it lives."""
        engine = connect_to_look(self.settings.database)
        try:
            return all(has_table(engine, table) for table in (DECISIONS, RESULTS))
        finally:
            engine.dispose()

    def _forget(self) -> None:
        self.facts, self._seq, self._number, self._seen = {}, 0, None, set()

    def _read(self, home: Home) -> set[str]:
        if home.ledger.newest() < self._seq:  # another home took its place
            self._forget()
        if self._number is None:  # the first look: listing all results of years would take longer than reading the last
            self._number = home.store.last_recorded()
            self._seen = set(home.store.recorded_since(self._number - _OVERLAP))
            self._read_entries(home)
            changed = recorded = {*self.facts, *self.configs.names()}
        else:
            recorded = self._newly_recorded(home)
            changed = self._read_entries(home) | recorded
        for name in recorded:
            listed = home.store.newest_results(name, MONITOR, Seen, _READ)
            if listed or name in self.facts:
                facts = self.facts.setdefault(name, Facts(name))
                facts.recent = list({r.window: r for r in listed}.values())[-SHOWN:]
        return changed & set(self.facts)

    def _newly_recorded(self, home: Home) -> set[str]:
        """The models with results that were not there at the last look."""
        recorded = home.store.recorded_since((self._number or 0) - _OVERLAP)
        names = {name for number, name in recorded.items() if number not in self._seen}
        self._number = max(recorded, default=self._number)
        self._seen = set(sorted(recorded)[-2 * _OVERLAP :])
        return names

    def _read_entries(self, home: Home) -> set[str]:
        changed = set()
        while entries := home.ledger.since(self._seq, _AT_ONCE):
            for entry in entries:
                self.facts.setdefault(entry.model, Facts(entry.model)).lines.append(Line.of(entry))
                changed.add(entry.model)
            self._seq = entries[-1].seq
        return changed
