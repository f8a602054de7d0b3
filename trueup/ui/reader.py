"""What the pages know of a home: read once, then only what was recorded since."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from trueup.adapters.sql.engines import connect_to_look, database_file, has_table
from trueup.adapters.sql.postgresql import fail_at_once
from trueup.adapters.store.results import Result
from trueup.adapters.store.tables import RESULTS
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.errors import TrueupError
from trueup.home import Home
from trueup.ledger.tables import DECISIONS
from trueup.metrics.configs import Configs
from trueup.metrics.tail import Tail
from trueup.model import MONITOR, Model
from trueup.ui.records import Line, Seen

SHOWN: Final = 24  # batches of a sparkline
_READ: Final = 30  # results that are read for them: a batch has one for each time its labels were looked at


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
        self._tail = Tail()
        self._unread: set[str] = set()  # models with results that are not read yet, such as after an error
        self._changed: set[str] = set()  # models that the next successful look names

    @property
    def home(self) -> Home | None:
        """The home, if it can be read."""
        return self._home

    def look(self) -> set[str]:
        """Read what was recorded since the last call; the models that it is about. Never raises for a home's failures."""
        try:
            home = self._opened()
            if home is not None:
                self._read(home)
        except (TrueupError, sa.exc.SQLAlchemyError, OSError) as error:
            self.close()
            self.problem = str(error).splitlines()[0]
            return set()
        self.problem = None
        changed, self._changed = self._changed & set(self.facts), set()
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
                self.facts, self._tail = {}, Tail()
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

    def _read(self, home: Home) -> None:
        if self._tail.was_replaced(home):
            self.facts = {}
        recorded = self._tail.recorded(home)
        for entry in self._tail.entries(home):
            self.facts.setdefault(entry.model, Facts(entry.model)).lines.append(Line.of(entry))
            self._changed.add(entry.model)
        self._unread |= {*self.facts, *self.configs.names()} if recorded is None else recorded
        for name in sorted(self._unread):
            listed = home.store.newest_results(name, MONITOR, Seen, _READ)
            if listed or name in self.facts:
                facts = self.facts.setdefault(name, Facts(name))
                facts.recent = list({r.window: r for r in listed}.values())[-SHOWN:]
            self._unread.discard(name)
            self._changed.add(name)
