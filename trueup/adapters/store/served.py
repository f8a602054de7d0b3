"""What servers predicted: the log that waits in the database, and the features as they were used."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import uuid4

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from trueup.adapters import parquet
from trueup.adapters.sql.engines import reading, writing
from trueup.adapters.store.parts import Parts, overlaps
from trueup.adapters.store.tables import SERVED, SERVED_LOG, folder_name, window_of
from trueup.domain.types import EVENT_TIME, ROW_ID, Window

_VERSION, _FEATURE = "model_version", "feature:"


class Served(Parts):
    """The log of servers with `durability: home`, and served features; see `Parts`."""

    def logged(self, model: str, most: int) -> list[tuple[int, bytes]]:
        """At most so many records of the log that wait, with their numbers, the oldest first."""
        query = sa.select(SERVED_LOG.c.id, SERVED_LOG.c.payload).where(SERVED_LOG.c.model == model)
        with reading(self.engine) as connection:
            rows = connection.execute(query.order_by(SERVED_LOG.c.id).limit(most))
            return [(row.id, bytes(row.payload)) for row in rows]

    def drop_logged(self, numbers: Collection[int]) -> None:
        """Remove records of the log that are stored. By number: a smaller one may become visible later."""
        some = list(numbers)
        with writing(self.engine) as connection:
            for few in (some[i : i + 500] for i in range(0, len(some), 500)):
                connection.execute(sa.delete(SERVED_LOG).where(SERVED_LOG.c.id.in_(few)))

    def save_served(self, model: str, window: Window, frame: pd.DataFrame, features: pd.DataFrame) -> int:
        """Store the features of rows of a window that have none yet. Returns their number, 0 for a removed window.

        `frame` has `row_id`, `event_time` and `model_version` of each row, `features` its inputs as float64.
        """
        named = features.set_axis(frame.index).add_prefix(_FEATURE)
        whole = pd.concat([frame[[ROW_ID, EVENT_TIME, _VERSION]], named], axis="columns")
        return self._append_part(SERVED, {"model": model}, f"served/{folder_name(model)}", window, whole)

    def has_served(self, model: str, window: Window) -> bool:
        """Whether features of a window's rows are kept."""
        parts = self._parts(SERVED, {"model": model})
        return any(part.removed_at is None and overlaps(part, window) for part in parts)

    def served_windows(self, model: str) -> list[Window]:
        """The windows with kept features, in order."""
        parts = self._parts(SERVED, {"model": model})
        return sorted({window_of(part) for part in parts if part.removed_at is None})

    def erase_served(self, model: str, window: Window, row_ids: Collection[int]) -> int:
        """Remove the features of rows from the files of a window. Returns the number of rows."""
        erased = 0
        for part in self._parts(SERVED, {"model": model}):
            if part.removed_at is None and window_of(part) == window:
                table = parquet.read(self.at(part.path))
                kept = table.filter(pc.invert(pc.is_in(table[ROW_ID], pa.array(list(row_ids), pa.int64()))))
                if gone := table.num_rows - kept.num_rows:
                    self._replace_part(part, kept)
                    erased += gone
        return erased

    def _replace_part(self, part: sa.Row[Any], kept: pa.Table) -> None:
        """Let a part have another file, and remove the old one."""
        path = f"{part.path.rpartition('-')[0]}-{uuid4().hex}.parquet"
        parquet.write(kept, self.at(path))
        row = {"path": path, "sha256": parquet.digest(kept), "rows": kept.num_rows}
        with writing(self.engine) as connection:
            one = (SERVED.c.model == part.model) & (SERVED.c.part == part.part)
            connection.execute(sa.update(SERVED).where(one).values(**row))
        self.files.delete(part.path)

    def read_served(self, model: str, window: Window, version: int, inputs: Sequence[str]) -> pd.DataFrame:
        """The features that a version used for a window's rows, with `row_id` first; empty if none are kept."""
        rows = self._read_parts(SERVED, {"model": model}, window)
        if _VERSION not in rows:
            return pd.DataFrame(columns=[ROW_ID, *inputs])
        own = rows[rows[_VERSION] == version].rename(columns={f"{_FEATURE}{name}": name for name in inputs})
        return own.reindex(columns=[ROW_ID, *inputs]).reset_index(drop=True)
