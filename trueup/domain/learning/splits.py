"""Splits in order of time: training uses only what was known before the rows that judge."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trueup.errors import NotEnoughData

Indices = NDArray[np.intp]


def time_folds(
    event_time: ArrayLike, known_at: ArrayLike, folds: int, test_share: float = 0.2
) -> list[tuple[Indices, Indices]]:
    """Split rows into expanding (train, test) pairs of positions, in order of time.

    The newest rows are cut into `folds` test folds of `test_share` of all rows each, together at most half of them;
    rows of the same moment stay together. A fold trains on the rows with a label known before its first test moment.
    Earlier rows with a later label are in neither part. Positions keep the rows' own order.

    `event_time` and `known_at` (n,) are datetime64 without zone; known_at is never before event_time. Folds without
    training or test rows are left out. Raises NotEnoughData if no fold remains.
    """
    moments = np.asarray(event_time, dtype="datetime64[us]")
    known_from = np.maximum(np.asarray(known_at, dtype="datetime64[us]"), moments)
    n, ordered = len(moments), np.sort(moments)
    share = min(test_share, 0.5 / folds)
    starts = [round(n * (1 - share * left)) for left in range(folds, 0, -1)]
    cuts = [ordered[min(s, n - 1)] for s in starts] if n else []
    parts = []
    for number, cut in enumerate(cuts):
        later = moments >= cuts[number + 1] if number + 1 < len(cuts) else np.zeros(n, dtype=bool)
        train, test = np.flatnonzero(known_from < cut), np.flatnonzero((moments >= cut) & ~later)
        if len(train) and len(test):
            parts.append((train, test))
    if not parts:
        raise NotEnoughData(
            f"{n:,} rows give no fold with labels known before it begins; "
            "wait for more history, raise train.search_rows if it limits them, or lower train.folds or the delay of the labels"
        )
    return parts
