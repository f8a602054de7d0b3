"""Rows of windows, kept in numbered parts: append-only, and the first one of a row counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.batches import empty, read_tables
from trueup.adapters.store.tables import Shelf, moment, stem, until_it_holds
from trueup.domain.types import EVENT_TIME, ROW_ID, Window

Of = Mapping[str, str]  # the columns that name a series of parts, such as model and role


class Parts(Shelf):
    """Series of numbered parts in a table.

    A part has only rows that are in no earlier part of an overlapping window. Processes compete for the part's number:
    after reading n parts, a process writes part n + 1, and the primary key accepts one. The others read again and find
    their rows there. So there is exactly one of each row, without a lock that a dead process could hold. A row with an
    event time corrected into another window is another row there.

    A window with removed parts (see `Removal`) takes no further ones, because it is unknown which rows were there.
    """

    def _append_part(
        self,
        table: sa.Table,
        of: Of,
        folder: str,
        window: Window,
        frame: pd.DataFrame,
        reached: Callable[[], None] = lambda: None,
    ) -> int:
        """Store the rows of a window that are in no part yet. Returns their number, 0 for a removed window.

        `frame` has at least `row_id` and `event_time`; every event time is in the window. The first of two rows with one
        id counts. `reached` is called when the file is there, before the row that makes it visible.
        """
        outside = (frame[EVENT_TIME] < window.start) | (frame[EVENT_TIME] >= window.end)
        if outside.any():
            raise ValueError(f"{int(outside.sum())} rows for {window} have an event time outside of it")
        once = frame.drop_duplicates(ROW_ID)

        def append() -> int:
            parts = self._parts(table, of)
            if removed(parts, window):
                return 0
            there = self._row_ids(parts, window)
            new = once[~once[ROW_ID].isin(there)] if len(there) else once
            if new.empty:
                return 0
            # A separate file, in case another process is faster.
            path, content = f"{folder}/{stem(window)}-{uuid4().hex}.parquet", parquet.to_table(new)
            parquet.write(content, self.at(path))
            reached()
            row = {"path": path, "sha256": parquet.digest(content), "rows": content.num_rows}
            row |= {"start": moment(window.start), "end": moment(window.end)}
            try:
                with writing(self.engine) as connection:
                    number = 1 + max((p.part for p in parts), default=0)
                    connection.execute(sa.insert(table).values(part=number, **of, **row))
            except sa.exc.IntegrityError:
                self.files.delete(path)
                raise
            return len(new)

        return until_it_holds(append)

    def _read_parts(
        self, table: sa.Table, of: Of, window: Window, columns: Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Read the rows of a window in the order of the parts, without removed ones."""
        parts = [p for p in self._parts(table, of) if overlaps(p, window) and p.removed_at is None]
        wanted = None if columns is None else list(dict.fromkeys([EVENT_TIME, *columns]))
        rows = read_tables([parquet.read(self.at(part.path), wanted) for part in parts], wanted)
        if not len(rows):
            return empty(columns or [ROW_ID, EVENT_TIME])
        if any(part.start < window.start or part.end > window.end for part in parts):
            inside = (rows[EVENT_TIME] >= window.start) & (rows[EVENT_TIME] < window.end)
            rows = rows[inside].reset_index(drop=True)
        return rows if columns is None else rows[list(columns)]

    def _parts(self, table: sa.Table, of: Of) -> Sequence[sa.Row[Any]]:
        query = sa.select(table).where(*(table.c[name] == value for name, value in of.items()))
        with reading(self.engine) as connection:
            return connection.execute(query.order_by(table.c.part)).all()

    def _row_ids(self, parts: Sequence[sa.Row[Any]], window: Window) -> np.ndarray[Any, np.dtype[np.int64]]:
        ids = [parquet.read(self.at(p.path), [ROW_ID])[ROW_ID].to_numpy() for p in parts if overlaps(p, window)]
        return np.concatenate(ids) if ids else np.array([], dtype=np.int64)


def removed(parts: Sequence[sa.Row[Any]], window: Window) -> bool:
    """Whether a part of a window's rows was removed."""
    return any(part.removed_at is not None and overlaps(part, window) for part in parts)


def overlaps(part: sa.Row[Any], window: Window) -> bool:
    """Whether a part's window and another have a moment in common."""
    return bool(part.start < window.end and window.start < part.end)
