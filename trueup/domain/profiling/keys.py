"""Finds the columns that identify a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from trueup.domain.profiling.columns import Column
from trueup.domain.profiling.questions import Ask

_CORRECTED = 0.1  # share of rows that may repeat an id, because exports contain corrections
_ABSENT = 0.01  # share of rows that may lack an id
_AGAIN = 5  # average number of rows per value of a code
_TRIED = 12  # candidate columns; up to three are combined


@dataclass(frozen=True)
class Key:
    """The columns that identify a row, the reason, and how many rows share their key; no columns if none do.

    `absent`: how many rows lack a value in one of them, and are left out.
    """

    columns: tuple[str, ...]
    why: str
    shared: int
    absent: int = 0


def key_of(ask: Ask, raw: pd.DataFrame, columns: dict[str, Column]) -> Key:
    """Find the columns that identify a row: an id, the time, or the time with codes and words.

    Measured values never do. Columns that are not unique are not used, because of rows with the same key only one
    counts.
    """
    if ask.key:
        return Key(ask.key, "as you said", _shared(raw, ask.key), int(raw[[*ask.key]].isna().any(axis=1).sum()))
    # With a word for missing, all rows with that word would share a key.
    ids = [n for n, c in columns.items() if c.kind in {"identifier", "counter"} and not c.sentinels]
    empty = {n: int(raw[n].isna().sum()) for n in ids}
    ids = sorted((n for n, count in empty.items() if count <= _ABSENT * len(raw)), key=lambda n: empty[n])
    exact = [(n,) for n in [*ids, ask.time] if n in ids or raw[n].notna().all()]
    for names in exact:
        if not _shared(raw, names):
            why = "each row that has one has its own" if empty.get(names[0]) else "each row has its own"
            return Key(names, why, 0, empty.get(names[0], 0))
    for size in (1, 2, 3):
        for others in combinations([*_codes(columns)][:_TRIED], size):
            if not _shared(raw, (ask.time, *others)):
                return Key((ask.time, *others), "together they are different in each row", 0)
    corrected = [(_shared(raw, names), names) for names in exact if names != (ask.time,)]
    shared, nearly = min(corrected, default=(len(raw), (ask.time,)))
    if shared <= _CORRECTED * len(raw):
        why = f"{shared:,} rows share theirs with another; the last of them counts"
        return Key(nearly, why, shared, empty[nearly[0]])
    return Key((), "", 0)


def _shared(raw: pd.DataFrame, names: tuple[str, ...]) -> int:
    named = raw[list(names)].dropna()
    return int(named.duplicated().sum())


def _codes(columns: dict[str, Column]) -> Iterator[str]:
    """Columns with names rather than measures: words, ids, and repeated whole numbers without gaps."""
    for name, column in columns.items():
        if column.absent:
            continue
        if column.kind in {"category", "identifier", "counter"}:
            yield name
        elif column.kind == "number" and (column.values % 1 == 0).all():
            low, high = column.values.min(), column.values.max()
            dense = high - low + 1 <= 2 * column.distinct
            if low >= 0 and dense and len(column.values) >= _AGAIN * column.distinct:
                yield name
