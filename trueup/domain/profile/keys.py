"""Which columns name a row."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from trueup.domain.profile.ask import Ask
from trueup.domain.profile.columns import Column


@dataclass(frozen=True)
class Key:
    """The columns that name a row, why these, and how many rows share theirs with another."""

    columns: tuple[str, ...]
    why: str
    shared: int


def key_of(ask: Ask, raw: pd.DataFrame, columns: dict[str, Column]) -> Key:
    """Find the columns that name a row."""
    if ask.key:
        shared = int(raw.duplicated(subset=list(ask.key)).sum())
        return Key(ask.key, "as you said", shared)
    ids = [n for n, c in columns.items() if c.kind in {"identifier", "counter"} and not c.absent]
    exact = [n for n in [*ids, ask.time] if raw[n].notna().all()]
    for name in exact:
        if not raw.duplicated(subset=[name]).any():
            return Key((name,), "each row has its own", 0)
    words = [n for n, c in columns.items() if c.kind in {"category", "identifier", "counter"} and not c.absent]
    whole = [n for n, c in columns.items() if c.kind == "number" and not c.absent and (c.values % 1 == 0).all()]
    others = [*words, *whole][:12]
    for size in (1, 2, 3):
        for names in combinations(others, size):
            if not raw.duplicated(subset=[ask.time, *names]).any():
                return Key((ask.time, *names), "together they are different in each row", 0)
    nearly = min(
        [*([(n,) for n in exact]), (ask.time, *others)], key=lambda k: int(raw.duplicated(subset=list(k)).sum())
    )
    shared = int(raw.duplicated(subset=list(nearly)).sum())
    return Key(nearly, f"{shared:,} rows share theirs with another; the last of them counts", shared)
