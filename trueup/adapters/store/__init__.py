"""The store: landed, quarantined and predicted data and results, as files of a home and rows in a database."""

from __future__ import annotations

import sqlalchemy as sa

from trueup.adapters.files.port import Files
from trueup.adapters.sql.engines import initialise
from trueup.adapters.store.predictions import CHAMPION, Predictions
from trueup.adapters.store.quarantine import Quarantine
from trueup.adapters.store.recorded_texts import Texts
from trueup.adapters.store.removal import Removal
from trueup.adapters.store.results import Computed, Result, Results
from trueup.adapters.store.served import Served
from trueup.adapters.store.tables import metadata

__all__ = ["CHAMPION", "Result", "Store"]


class Store(Quarantine, Predictions, Served, Results, Computed, Texts, Removal):
    """All parts of the store. Missing tables are created."""

    def __init__(self, files: Files, engine: sa.Engine) -> None:
        super().__init__(files, engine)
        initialise(engine, metadata)

    def forget(self) -> None:
        """Let go of what listings keep in memory."""
        self._read.clear()
        self._refs.clear()
