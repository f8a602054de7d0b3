"""Compares features as they were served with those that are computed offline for the same rows: training-serving skew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

MIN_SERVED: Final = 200  # rows for a judgement
MIN_WHOLLY: Final = 30  # rows for a judgement if all of them differ
_NAMED: Final = 3  # features that a reason names


@dataclass(frozen=True)
class Skew:
    """How many served rows of a batch have other features offline, and by feature the share of rows, largest first."""

    version: int
    rows: int
    differing: int
    limit: float  # `serve.max_skew`
    features: dict[str, float]

    @property
    def share(self) -> float:
        """Share of the rows with a difference in any feature; 0 without rows."""
        return self.differing / self.rows if self.rows else 0.0

    @property
    def skewed(self) -> bool:
        """Whether the share is beyond the limit, on enough rows to say so."""
        enough = self.rows >= MIN_SERVED or (self.rows >= MIN_WHOLLY and self.differing == self.rows)
        return enough and self.share > self.limit

    @property
    def reason(self) -> str:
        """What was found, in words."""
        worst = ", ".join(f"{name} in {share:.1%}" for name, share in list(self.features.items())[:_NAMED])
        more = f" and {len(self.features) - _NAMED} more" if len(self.features) > _NAMED else ""
        return (
            f"{self.differing:,} of {self.rows:,} served rows ({self.share:.1%}, serve.max_skew is {self.limit:.1%}) have "
            f"other features offline: {worst}{more}"
        )


def compare(pairs: Iterable[tuple[Floats, Floats]], names: Sequence[str], version: int, limit: float) -> Skew:
    """Compare features of the same rows, value by value: equal is equal to the last bit, and NaN equals NaN.

    `pairs` are served and offline features (n, k) of some rows each.

    >>> compare([(np.array([[1.0, np.nan]]), np.array([[1.0, 2.0]]))], ["a", "b"], 1, 0.01).features
    {'b': 1.0}
    """
    rows, differing, by_feature = 0, 0, np.zeros(len(names))
    for served, offline in pairs:
        differs = ~((served == offline) | (np.isnan(served) & np.isnan(offline)))
        rows, differing = rows + len(differs), differing + int(differs.any(axis=1).sum())
        by_feature += differs.sum(axis=0)
    shares = by_feature / max(rows, 1)
    found = {names[i]: float(shares[i]) for i in np.argsort(-shares, kind="stable") if shares[i] > 0}
    return Skew(version, rows, differing, limit, found)
