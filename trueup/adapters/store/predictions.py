"""Predictions: append-only; the first one served for a row counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import empty, read_tables
from trueup.adapters.store.tables import PREDICTIONS, Shelf, folder_name, moment, stem, until_it_holds
from trueup.crash import reach
from trueup.domain.types import EVENT_TIME, ROW_ID, Window

CHAMPION = "champion"


class Predictions(Shelf):
    """Predictions of a model in a role (`champion`, or `shadow:<version>`), in numbered parts.

    A part has only rows that are in no earlier part of an overlapping window. Processes compete for the part's number:
    after reading n parts, a process writes part n + 1, and the primary key accepts one. The others read again and find
    their rows predicted. So there is exactly one prediction per row, without a lock that a dead process could hold. A
    row with an event time corrected into another window is another row there.

    A window with removed predictions (see `Removal`) is never predicted again, because it is unknown which rows were
    served.
    """

    def save_predictions(self, model: str, window: Window, frame: pd.DataFrame, role: str = CHAMPION) -> int:
        """Store the predictions of rows of a window that have none yet. Returns their number, 0 for a removed window.

        `frame` has at least `row_id` and `event_time`; every event time is in the window. The first of two
        rows with one id counts.
        """
        outside = (frame[EVENT_TIME] < window.start) | (frame[EVENT_TIME] >= window.end)
        if outside.any():
            raise ValueError(f"{int(outside.sum())} predictions for {window} have an event time outside of it")
        once = frame.drop_duplicates(ROW_ID)
        folder = f"predictions/{folder_name(model)}/{folder_name(role)}"

        def append() -> int:
            parts = self._parts(model, role)
            if _removed(parts, window):
                return 0
            served = self._served(parts, window)
            new = once[~once[ROW_ID].isin(served)] if len(served) else once
            if new.empty:
                return 0
            table = parquet.to_table(new)
            path = (
                f"{folder}/{stem(window)}-{uuid4().hex}.parquet"  # a separate file, in case another process is faster
            )
            parquet.write(table, self.home / path)
            reach("score.file")
            row = {"path": path, "sha256": parquet.digest(table), "rows": table.num_rows, "start": moment(window.start)}
            row |= {"end": moment(window.end), "part": 1 + max((p.part for p in parts), default=0)}
            try:
                with writing(self.engine) as connection:
                    connection.execute(sa.insert(PREDICTIONS).values(model=model, role=role, **row))
            except sa.exc.IntegrityError:
                (self.home / path).unlink()
                raise
            return len(new)

        return until_it_holds(append)

    def read_predictions(
        self, model: str, window: Window, role: str = CHAMPION, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read the predictions for a window's rows, in the order in which they were served, without removed ones."""
        parts = [p for p in self._parts(model, role) if _overlaps(p, window) and p.removed_at is None]
        wanted = None if columns is None else list(dict.fromkeys([EVENT_TIME, *columns]))
        rows = read_tables([parquet.read(self.home / part.path, wanted) for part in parts], wanted)
        if not len(rows):
            return empty(columns or [ROW_ID, EVENT_TIME])
        if any(part.start < window.start or part.end > window.end for part in parts):
            inside = (rows[EVENT_TIME] >= window.start) & (rows[EVENT_TIME] < window.end)
            rows = rows[inside].reset_index(drop=True)
        return rows if columns is None else rows[list(columns)]

    def predictions_removed(self, model: str, window: Window, role: str = CHAMPION) -> bool:
        """Whether predictions of a window's rows were removed, so that no new ones may be made."""
        return _removed(self._parts(model, role), window)

    def _parts(self, model: str, role: str) -> Sequence[sa.Row[Any]]:
        query = sa.select(PREDICTIONS).where(PREDICTIONS.c.model == model, PREDICTIONS.c.role == role)
        with reading(self.engine) as connection:
            return connection.execute(query.order_by(PREDICTIONS.c.part)).all()

    def _served(self, parts: Sequence[sa.Row[Any]], window: Window) -> np.ndarray[Any, np.dtype[np.int64]]:
        ids = [parquet.read(self.home / p.path, [ROW_ID])[ROW_ID].to_numpy() for p in parts if _overlaps(p, window)]
        return np.concatenate(ids) if ids else np.array([], dtype=np.int64)


def _removed(parts: Sequence[sa.Row[Any]], window: Window) -> bool:
    return any(part.removed_at is not None and _overlaps(part, window) for part in parts)


def _overlaps(part: sa.Row[Any], window: Window) -> bool:
    return bool(part.start < window.end and window.start < part.end)
