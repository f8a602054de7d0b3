"""Summarises a batch in a few numbers, from which `learned_bounds` learns what is usual."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import numpy as np
import pandas as pd

from trueup.domain.data.values import as_text
from trueup.domain.types import Window

AT: Final = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)  # the quantiles in a profile
_SKETCH: Final = 64  # hashes of values in a sketch
HASHES: Final = 2**53


@dataclass(frozen=True)
class Numbers:
    """A numeric column: counts of finite, missing and infinite values, and of the most frequent one.

    `size` is the median of the absolute values that are not zero; `quantiles` are those at `AT`. Both None without
    values.
    """

    n: int
    missing: int
    top: int
    size: float | None = None
    quantiles: tuple[float, ...] | None = None

    def at(self, quantile: float) -> float:
        """A quantile by its place in `AT`. Raises ValueError without values."""
        if self.quantiles is None:
            raise ValueError("no values")
        return self.quantiles[AT.index(quantile)]


@dataclass(frozen=True)
class Values:
    """A column of categories or keys, like `Numbers`; `sketch` counts the rows of the values with the smallest hashes.

    `below` bounds these hashes. The sketch has all values with a smaller hash, so two sketches can be compared there.
    """

    n: int
    missing: int
    top: int
    below: int = HASHES
    sketch: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Profile:
    """A summary of a batch. `first` and `last` are the moments of its first and last row, None without rows."""

    rows: int
    first: datetime | None
    last: datetime | None
    numbers: dict[str, Numbers]
    values: dict[str, Values]


def profile(
    rows: pd.DataFrame | Mapping[str, pd.Series[Any]],
    times: pd.Series[Any],
    numeric: Sequence[str],
    kinds: Sequence[str],
) -> Profile:
    """Summarise a batch, given as a frame or by column. `times` (n,) are its rows' moments. Missing columns are left out."""
    return Profile(
        rows=len(times),
        first=times.min().floor("us").to_pydatetime() if len(times) else None,
        last=times.max().floor("us").to_pydatetime() if len(times) else None,
        numbers={name: _numbers(rows[name]) for name in numeric if name in rows},
        values={name: _values(rows[name]) for name in kinds if name in rows},
    )


def _numbers(column: pd.Series[Any]) -> Numbers:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    finite = np.sort(values[np.isfinite(values)])
    if not len(finite):
        return Numbers(0, len(values), 0)
    ends = np.flatnonzero(np.append(finite[1:] != finite[:-1], True))
    top = int(np.diff(ends, prepend=-1).max())
    sizes = np.abs(finite[finite != 0])
    places = np.rint(np.array(AT) * (len(finite) - 1)).astype(int)
    quantiles = tuple(float(v) for v in finite[places])
    return Numbers(
        len(finite), len(values) - len(finite), top, float(np.median(sizes)) if len(sizes) else None, quantiles
    )


def _values(column: pd.Series[Any]) -> Values:
    counts = as_text(column).value_counts()
    n = int(counts.sum())
    if not n:
        return Values(0, len(column), 0)
    hashes = pd.util.hash_array(counts.index.to_numpy(dtype=object), categorize=False) >> np.uint64(11)
    chosen = np.argsort(hashes, kind="stable")[: _SKETCH + 1]
    below = int(hashes[chosen[-1]]) if len(chosen) > _SKETCH else HASHES
    sketch = {int(hashes[i]): int(counts.iloc[i]) for i in chosen[:_SKETCH]}
    return Values(n, len(column) - n, int(counts.iloc[0]), below, sketch)


def partial_ends(windows: Sequence[Window], profiles: Sequence[Profile]) -> tuple[bool, bool]:
    """Whether the first and the last batch of a stream cover only a part of their window.

    The test is how long after its start a batch's rows usually begin, and how long before its end they stop.
    """
    with_rows = [(w, p) for w, p in zip(windows, profiles, strict=True) if p.first is not None and p.last is not None]
    if len(with_rows) < 3 or not profiles[0].rows or not profiles[-1].rows:
        return False, False
    heads = [(p.first - w.start) / (w.end - w.start) for w, p in with_rows if p.first is not None]
    tails = [(w.end - p.last) / (w.end - w.start) for w, p in with_rows if p.last is not None]
    return heads[0] > 0.1 + 2 * max(heads[1:]), tails[-1] > 0.1 + 2 * max(tails[:-1])
