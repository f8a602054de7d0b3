"""Rows of feature files that are read in chunks, so that no training window has to be in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from trueup.adapters import parquet
from trueup.adapters.files.port import Stored
from trueup.domain.features.chunks import CHUNK

Places = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, eq=False)
class FeatureRows:
    """Chosen rows of feature files, in order. Every reading reads the files again.

    `places` are the ascending positions of the rows in each file; `none` is a table without rows, with the columns and
    types of all files together.
    """

    files: tuple[Stored, ...]
    places: tuple[Places, ...]
    none: pa.Table

    @classmethod
    def of(cls, files: Sequence[Stored], places: Sequence[Places]) -> FeatureRows:
        """Raises WorkError if a file is missing or damaged."""
        # Positions are kept in four bytes: there is one for each training row.
        small = tuple(np.asarray(p, dtype=np.int32) for p in places)
        return cls(tuple(files), small, parquet.concat([parquet.without_rows(file) for file in files]))

    def __len__(self) -> int:
        return sum(map(len, self.places))

    @property
    def columns(self) -> list[str]:
        return list(self.none.column_names)

    def only(self, columns: Sequence[str]) -> FeatureRows:
        """The same rows with these columns, in this order."""
        return replace(self, none=self.none.select(list(columns)))

    def at(self, rows: slice | npt.NDArray[np.integer[Any]]) -> FeatureRows:
        """A range of the rows, or those at ascending positions."""
        starts = np.cumsum([0, *map(len, self.places)])
        positions = np.arange(*rows.indices(len(self))) if isinstance(rows, slice) else np.asarray(rows)
        cuts = np.searchsorted(positions, starts)
        return replace(self, places=tuple(
            places[positions[low:high] - start]
            for places, start, low, high in zip(self.places, starts[:-1], cuts[:-1], cuts[1:], strict=True)
        ))  # fmt: skip

    def take(self, positions: npt.NDArray[np.integer[Any]]) -> pd.DataFrame:
        """The rows at positions in any order, as a frame with a fresh index."""
        order = np.argsort(positions, kind="stable")
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        return self.at(positions[order]).frame().take(back).reset_index(drop=True)

    def frame(self) -> pd.DataFrame:
        """All rows as one frame. Beside it only a part of a file is in memory."""
        return self._frame(list(self._tables()))

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows in order, `CHUNK` at a time, all columns or the named ones."""
        chosen = self if columns is None else self.only(columns)
        parts, rows = list[pa.Table](), 0
        for table in chosen._tables():
            while table.num_rows:
                parts.append(table.slice(0, CHUNK - rows))
                table, rows = table.slice(CHUNK - rows), rows + parts[-1].num_rows
                if rows == CHUNK:
                    yield chosen._frame(parts, apart=True)
                    parts, rows = [], 0
        if parts:
            yield chosen._frame(parts, apart=True)

    def _tables(self) -> Iterator[pa.Table]:
        """Yield the rows in order, in tables of at most `CHUNK` rows as the files have them."""
        for file, places in zip(self.files, self.places, strict=True):
            done = start = 0
            for table in parquet.chunks(file, self._in(file), CHUNK) if len(places) else ():
                start, end = start + table.num_rows, int(np.searchsorted(places, start + table.num_rows))
                if end > done:
                    here = places[done:end] - (start - table.num_rows)
                    yield table if len(here) == table.num_rows else table.take(pa.array(here))
                done = end
                if done == len(places):
                    break

    def _in(self, file: Stored) -> list[str]:
        there = set(parquet.columns(file))
        return [name for name in self.columns if name in there]

    def _frame(self, tables: list[pa.Table], apart: bool = False) -> pd.DataFrame:
        one = tables[0] if len(tables) == 1 and tables[0].num_columns == self.none.num_columns else None
        if one is None or not one.select(self.columns).schema.equals(self.none.schema):
            one = parquet.concat([self.none, *tables])
        return parquet.to_pandas(one.select(self.columns), apart)
