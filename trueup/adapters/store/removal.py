"""Removal by retention: a row is marked first, then its file is removed.

A removed file is then one that no row needs, so the next sweep completes an interrupted removal. The same mechanism
finds files that a crash left without a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from trueup.adapters import old_files
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import as_ref
from trueup.adapters.store.tables import BATCHES, PREDICTIONS, QUARANTINE, Shelf, folder_name
from trueup.domain.types import BatchRef

Kind = Literal["batches", "quarantine", "predictions"]
Part = tuple[str, int]  # role and number
_TABLES = {"batches": BATCHES, "quarantine": QUARANTINE, "predictions": PREDICTIONS}


@dataclass(frozen=True)
class Superseded:
    """A revision that exists although a newer one replaced it. Moments are wall time, in UTC."""

    ref: BatchRef
    landed_at: datetime
    superseded_at: datetime


class Removal(Shelf):
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
        old = []
        for _, same in groupby(rows, key=lambda row: (row.role, row.start, row.end)):
            parts = list(same)
            if all(_utc(part.recorded_at) < before for part in parts):
                old += [(part.role, part.part) for part in parts]
        return old

    def retire_batches(self, sequences: Iterable[int], at: datetime) -> None:
        """Mark the files of landings as removed."""
        self._retire(BATCHES, [{"sequence": sequence} for sequence in sequences], at)

    def retire_predictions(self, model: str, parts: Iterable[Part], at: datetime) -> None:
        """Mark the files of parts of a model's predictions as removed: these rows are never predicted again."""
        self._retire(PREDICTIONS, [{"model": model, "role": role, "part": part} for role, part in parts], at)

    def sweep(
        self, kind: Kind, model: str, before: datetime, retiring: Collection[Any] = (), dry_run: bool = False
    ) -> tuple[int, int]:
        """Remove the files of a kind that no row of the model needs. Returns their number and bytes.

        Unreferenced files are removed only if older than a moment: a writer may still be about to add the row. With
        `dry_run` no file is removed, and `retiring` (sequences, or parts) counts as marked.
        """
        table = _TABLES[kind]
        opened = reading(self.engine) if dry_run else writing(self.engine, table)
        # Landings that would reuse an old file wait for this, and then see that it is gone.
        with opened as connection:
            needed = _needed(connection, kind, model, set(retiring))
            files = list((self.home / kind / folder_name(model)).rglob("[!.]*.parquet"))
            paths = {file: file.relative_to(self.home).as_posix() for file in files}
            unneeded = [file for file in files if needed.get(paths[file]) is False]
            strays = old_files.older((file for file in files if paths[file] not in needed), before)
            return old_files.remove([*unneeded, *strays], dry_run)

    def leftovers(self, before: datetime) -> list[Path]:
        """Files from before a moment that a killed writer left incomplete."""
        folders = ("batches", "quarantine", "predictions", "features", "evaluations", "recorded", "feed")
        return old_files.older((f for name in folders for f in (self.home / name).rglob(".*.tmp")), before)

    def _retire(self, table: sa.Table, keys: list[Mapping[str, object]], at: datetime) -> None:
        if not keys:
            return
        chosen = [table.c[name] == sa.bindparam(f"the_{name}") for name in keys[0]]
        statement = sa.update(table).where(*chosen, table.c.removed_at.is_(None))
        moment = at.astimezone(UTC).replace(tzinfo=None)
        with writing(self.engine, table) as connection:
            values = [{f"the_{name}": value for name, value in key.items()} for key in keys]
            connection.execute(statement.values(removed_at=moment), values)


def _needed(connection: sa.Connection, kind: Kind, model: str, retiring: set[Any]) -> dict[str, bool]:
    """Every file in a row of the model, and whether any row still needs it."""
    if kind == "predictions":
        columns = (PREDICTIONS.c.role, PREDICTIONS.c.part, PREDICTIONS.c.path, PREDICTIONS.c.removed_at)
        rows = connection.execute(sa.select(*columns).where(PREDICTIONS.c.model == model)).all()
        referenced = [(row.path, row.removed_at is None and (row.role, row.part) not in retiring) for row in rows]
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
