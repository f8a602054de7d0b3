"""Feature rows that are read in chunks, so that a fit or a prediction never holds all of them as a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CHUNK = 65_536  # rows; a power of two, so that a matrix product adds in the same order as over all rows


class Chunks(Protocol):
    """Feature rows somewhere else, such as in files: each reading returns the same rows in the same order."""

    def __len__(self) -> int: ...

    @property
    def columns(self) -> Sequence[str]: ...

    def frame(self) -> pd.DataFrame:
        """All rows at once, for those who need them."""
        ...

    def at(self, rows: slice | NDArray[np.integer[Any]]) -> Chunks:
        """A range of the rows, or those at ascending positions."""
        ...

    def take(self, positions: NDArray[np.integer[Any]]) -> pd.DataFrame:
        """The rows at positions in any order, as a frame."""
        ...

    def chunks(self, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows in order, all columns or the named ones, `CHUNK` at a time and the rest at the end.

        Every chunk has the same columns.
        """
        ...


Rows: TypeAlias = pd.DataFrame | Chunks


def chunks_of(X: Rows, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
    """Yield the rows in order, in frames of `CHUNK` rows and one of the rest; rows without any give none."""
    parts = (X if columns is None else X[list(columns)],) if isinstance(X, pd.DataFrame) else X.chunks(columns)
    for part in parts:
        for start in range(0, len(part), CHUNK):
            yield part if len(part) <= CHUNK else part.iloc[start : start + CHUNK]


def frame_of(X: Rows) -> pd.DataFrame:
    """All rows as one frame."""
    return X if isinstance(X, pd.DataFrame) else X.frame()


def columns_with_values(X: Rows, columns: Sequence[str]) -> set[str]:
    """The columns with a value in any row. Reading ends when all have one."""
    lacking = list(dict.fromkeys(columns))
    for chunk in chunks_of(X, lacking):
        lacking = [c for c in lacking if not chunk[c].notna().any()]
        if not lacking:
            break
    return set(columns) - set(lacking)
