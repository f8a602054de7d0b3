"""The store: landed, quarantined and predicted data and results, as files in a home and rows in a database."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from trueup.adapters.sql.engines import initialise, looks
from trueup.adapters.store.predictions import CHAMPION, Predictions
from trueup.adapters.store.quarantine import Quarantine
from trueup.adapters.store.recorded_texts import Texts
from trueup.adapters.store.removal import Removal
from trueup.adapters.store.results import Computed, Result, Results
from trueup.adapters.store.tables import metadata

__all__ = ["CHAMPION", "Result", "Store"]


class Store(Quarantine, Predictions, Results, Computed, Texts, Removal):
    """All parts of the store. `home` has the files; missing tables are created."""

    def __init__(self, home: Path, engine: sa.Engine) -> None:
        super().__init__(home, engine)
        if not looks(engine):
            home.mkdir(parents=True, exist_ok=True)
        initialise(engine, metadata)
