"""The rows of a landed batch in its file, of which a column or some rows are read at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.adapters import parquet
from trueup.adapters.files.port import Stored

AT_ONCE: Final = 1 << 18  # rows of a batch that are in memory with all of their columns


@dataclass(frozen=True, eq=False)
class LandedRows:
    """A batch's rows like a frame of them, for a batch that is not to be in memory whole.

    `rows[name]` reads one column. Values have the types that they have in the frame. Reading raises WorkError if the file
    is missing or damaged.
    """

    file: Path | Stored
    size: int

    def __len__(self) -> int:
        return self.size

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __getitem__(self, name: str) -> pd.Series[Any]:
        column: pd.Series[Any] = self.only([name])[name]
        return column

    def only(self, columns: Sequence[str]) -> pd.DataFrame:
        """All rows of some columns."""
        return parquet.to_pandas(parquet.read(self.file, columns))[list(columns)]

    def parts(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """Yield some columns in frames of at most `AT_ONCE` rows, each with a fresh index."""
        # Of whole numbers with missing values, a part without one would have another type.
        types = {name: self[name].dtype for name in columns if name in self._whole_numbers}
        for table in parquet.chunks(self.file, columns, AT_ONCE):
            yield parquet.to_pandas(table)[list(columns)].astype(types, copy=False)

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(parquet.columns(self.file))

    @cached_property
    def _whole_numbers(self) -> frozenset[str]:
        kinds = parquet.to_pandas(parquet.without_rows(self.file)).dtypes
        return frozenset(
            str(name) for name, kind in kinds.items() if np.issubdtype(getattr(kind, "type", object), np.integer)
        )
