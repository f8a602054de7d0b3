"""Removal by retention: a row is marked first, then its file is removed.

A removed file is then one that no row needs, so the next sweep completes an interrupted removal. The same mechanism
finds files that a crash left without a row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any, Literal

import sqlalchemy as sa

from trueup.adapters.files.port import Entry, older, remove
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import as_ref
from trueup.adapters.store.marks import Marks
from trueup.adapters.store.tables import BATCHES, PREDICTIONS, QUARANTINE, SERVED, folder_name
from trueup.domain.types import BatchRef

Kind = Literal["batches", "quarantine", "predictions", "served"]
Part = tuple[str, int]  # role and number
_AT_ONCE = timedelta(0)
_TABLES = {"batches": BATCHES, "quarantine": QUARANTINE, "predictions": PREDICTIONS, "served": SERVED}


@dataclass(frozen=True)
class Superseded:
    """A revision that exists although a newer one replaced it. Moments are wall time, in UTC."""

    ref: BatchRef
    landed_at: datetime
    superseded_at: datetime


class Removal(Marks):
    """Lists files that may be removed, and removes them."""

    def superseded(self, model: str) -> list[Superseded]:
        """Revisions of a model's batches that are not the newest and were not removed."""
        query = sa.select(BATCHES).where(_of_model(model))
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(BATCHES.c.dataset, BATCHES.c.start, BATCHES.c.revision)).all()
        return [
            Superseded(as_ref(old), _utc(old.recorded_at), _utc(new.recorded_at))
            for _, revisions in groupby(rows, key=lambda row: (row.dataset, row.start))
            for old, new in pairwise(revisions)
            if old.removed_at is None
        ]

    def old_predictions(self, model: str, before: datetime) -> list[Part]:
        """Parts of a model's predictions, in all roles, of windows in which every part is from before a moment."""
        query = sa.select(PREDICTIONS).where(PREDICTIONS.c.model == model, PREDICTIONS.c.removed_at.is_(None))
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(PREDICTIONS.c.role, PREDICTIONS.c.start, PREDICTIONS.c.end)).all()
        return [(part.role, part.part) for part in _old(rows, before, lambda row: (row.role, row.start, row.end))]

    def old_served(self, model: str, before: datetime) -> list[int]:
        """Parts of a model's served features, of windows in which every part is from before a moment."""
        query = sa.select(SERVED).where(SERVED.c.model == model, SERVED.c.removed_at.is_(None))
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(SERVED.c.start, SERVED.c.end)).all()
        return [part.part for part in _old(rows, before, lambda row: (row.start, row.end))]

    def retire_batches(self, sequences: Iterable[int], at: datetime) -> None:
        """Mark the files of landings as removed."""
        self._retire(BATCHES, [{"sequence": sequence} for sequence in sequences], at)

    def retire_predictions(self, model: str, parts: Iterable[Part], at: datetime) -> None:
        """Mark the files of parts of a model's predictions as removed: these rows are never predicted again."""
        self._retire(PREDICTIONS, [{"model": model, "role": role, "part": part} for role, part in parts], at)

    def retire_served(self, model: str, parts: Iterable[int], at: datetime) -> None:
        """Mark the files of parts of a model's served features as removed."""
        self._retire(SERVED, [{"model": model, "part": part} for part in parts], at)

    def sweep(
        self,
        kind: Kind,
        model: str,
        before: datetime,
        retiring: Collection[Any] = (),
        dry_run: bool = False,
        wait: timedelta = _AT_ONCE,
    ) -> tuple[int, int]:
        """Remove the files of a kind that no row of the model needs. Returns their number and bytes.

        Unreferenced files are removed only if older than a moment: a writer may still be about to add the row. With
        `dry_run` no file is removed, and `retiring` (sequences, or parts) counts as marked. With a wait a file is removed
        by the second sweep that finds it unneeded, so much later than the first one.
        """
        table = _TABLES[kind]
        opened = reading(self.engine) if dry_run else writing(self.engine, table)
        # Landings that would reuse an old file wait for this, and then see that it is gone.
        with opened as connection:
            needed = _needed(connection, kind, model, set(retiring))
            listed = self.files.listed(f"{kind}/{folder_name(model)}")
            whole = [entry for entry in listed if entry.name.endswith(".parquet") and not entry.name.startswith(".")]
            unneeded = [entry for entry in whole if needed.get(entry.key) is False]
            strays = older((entry for entry in whole if entry.key not in needed), before)
            found = [*unneeded, *strays]
            if wait and not dry_run:
                found = self._ripe(connection, f"{model}/{kind}", found, wait)
            return remove(self.files, found, dry_run)

    def leftovers(self, before: datetime) -> list[Entry]:
        """Files from before a moment that a killed writer left incomplete."""
        folders = ("batches", "quarantine", "predictions", "served", "features", "evaluations", "recorded", "feed")
        listed = (entry for folder in folders for entry in self.files.listed(folder))
        return older((e for e in listed if e.name.startswith(".") and e.name.endswith(".tmp")), before)

    def _retire(self, table: sa.Table, keys: list[Mapping[str, object]], at: datetime) -> None:
        if not keys:
            return
        chosen = [table.c[name] == sa.bindparam(f"the_{name}") for name in keys[0]]
        statement = sa.update(table).where(*chosen, table.c.removed_at.is_(None))
        moment = at.astimezone(UTC).replace(tzinfo=None)
        with writing(self.engine, table) as connection:
            values = [{f"the_{name}": value for name, value in key.items()} for key in keys]
            connection.execute(statement.values(removed_at=moment), values)


def _old(rows: Iterable[sa.Row[Any]], before: datetime, of: Callable[[sa.Row[Any]], Any]) -> list[sa.Row[Any]]:
    """The rows of parts whose series has none from after a moment; `rows` are sorted by `of`."""
    series = (list(same) for _, same in groupby(rows, key=of))
    return [part for parts in series if all(_utc(p.recorded_at) < before for p in parts) for part in parts]


def _needed(connection: sa.Connection, kind: Kind, model: str, retiring: set[Any]) -> dict[str, bool]:
    """Every file in a row of the model, and whether any row still needs it."""
    if kind == "predictions":
        columns = (PREDICTIONS.c.role, PREDICTIONS.c.part, PREDICTIONS.c.path, PREDICTIONS.c.removed_at)
        rows = connection.execute(sa.select(*columns).where(PREDICTIONS.c.model == model)).all()
        referenced = [(row.path, row.removed_at is None and (row.role, row.part) not in retiring) for row in rows]
    elif kind == "served":
        query = sa.select(SERVED.c.part, SERVED.c.path, SERVED.c.removed_at).where(SERVED.c.model == model)
        rows = connection.execute(query).all()
        referenced = [(row.path, row.removed_at is None and row.part not in retiring) for row in rows]
    else:
        path = (BATCHES if kind == "batches" else QUARANTINE).c.path
        joined = BATCHES if kind == "batches" else BATCHES.join(QUARANTINE, QUARANTINE.c.sequence == BATCHES.c.sequence)
        query = sa.select(path, BATCHES.c.sequence, BATCHES.c.removed_at).select_from(joined).where(_of_model(model))
        referenced = [(r.path, r.removed_at is None and r.sequence not in retiring) for r in connection.execute(query)]
    needed: dict[str, bool] = {}
    for file, still in referenced:  # content landed twice is one file
        needed[file] = needed.get(file, False) or still
    return needed


def _of_model(model: str) -> sa.ColumnElement[bool]:
    return BATCHES.c.dataset.startswith(f"{model}/", autoescape=True)


def _utc(recorded_at: datetime) -> datetime:
    """The database's current time in UTC; PostgreSQL writes its session's zone, up to 14 hours off."""
    return recorded_at.replace(tzinfo=UTC)
