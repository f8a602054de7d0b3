"""Rows of landed batches, read in parts if a batch is large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from trueup.adapters.store.landed_rows import AT_ONCE
from trueup.domain.types import ROW_ID, BatchRef
from trueup.home import Home


def parts(home: Home, ref: BatchRef, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
    """Yield some columns of a batch in frames with fresh indexes. Raises WorkError if its file is gone."""
    if ref.rows <= AT_ONCE:
        yield home.store.read(ref, columns)
        return
    landed = home.store.landed_rows(ref)
    assert not isinstance(landed, pd.DataFrame)  # it has more rows than are read at once
    yield from landed.parts(columns)


def row_of(home: Home, ref: BatchRef, row_id: int) -> pd.Series[Any] | None:
    """A row of a batch with all columns; None if it is not there. Raises WorkError if the file is gone."""
    for rows in parts(home, ref, home.store.columns(ref)):
        found = rows[rows[ROW_ID] == row_id]
        if len(found):
            return found.iloc[0]
    return None
