"""Evidence about a challenger: losses on rows that neither its recipe's fit nor the champion was trained on.

The challenger's recipe is walked forward through the rows that matured after the champion's training: it is fitted at a
few cut-offs, and each fit is judged on the rows that follow. The evidence of a decision is the sum of row losses by
block of time, one for each compared model. Any paired difference and its interval follow from these sums, and the next
attempt against the same champion can add to them.

Each row counts once. An attempt judges the blocks inside its own span anew; older blocks come from the record of the
attempts before it, lost ones included. Older rows count less, by their age alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from trueup.domain.judging.bootstrap import MAX_BLOCKS, Floats, Interval, sums_interval

_EPOCH = datetime(1970, 1, 1)
_SLACK = 1e-9  # of a fold: a whole number of blocks is not rounded down
_BLOCK, _ROWS, _WEIGHT, _LOSS = "block", "rows", "weight", "loss_"


@dataclass(frozen=True, eq=False)
class Evidence:
    """Sums of row losses by block of time, in order of time.

    `numbers` (blocks,) counts blocks of length `block` from 1970, `rows` (blocks,) are the judged rows of each block.
    `losses` has by role the sum of row losses of each block (blocks,). `weights` (blocks,) are the weights of a row of each
    block. `attempts` are the runs of the earlier attempts that the older blocks come from, the newest last.
    """

    block: timedelta
    numbers: NDArray[np.int64]
    rows: Floats
    losses: Mapping[str, Floats]
    weights: Floats
    attempts: tuple[str, ...] = ()

    @classmethod
    def of(cls, event_time: ArrayLike, losses: Mapping[str, ArrayLike], block: timedelta) -> Evidence:
        """Sum row losses (n,) by role over blocks of time; all rows count alike.

        `event_time` (n,) is datetime64 without zone. Raises ValueError when there are no rows.
        """
        moments = np.asarray(event_time, dtype="datetime64[us]").astype(np.int64)
        if not len(moments):
            raise ValueError("no rows: there is no evidence")
        codes, numbers = pd.factorize(moments // (block // timedelta(microseconds=1)), sort=True)
        rows = np.bincount(codes).astype(np.float64)
        sums = {role: _sums(codes, values) for role, values in losses.items()}
        return cls(block, np.asarray(numbers, dtype=np.int64), rows, sums, np.ones(len(rows)))

    @property
    def start(self) -> datetime:
        return _EPOCH + int(self.numbers[0]) * self.block

    @property
    def end(self) -> datetime:
        return _EPOCH + (int(self.numbers[-1]) + 1) * self.block

    def carrying(self, before: Evidence, attempt: str) -> Evidence:
        """Add the older blocks of an earlier attempt against the same champion.

        Nothing is added where the earlier attempt did not measure every role. Raises ValueError for blocks of another
        length.
        """
        if before.block != self.block:
            raise ValueError(f"blocks of {before.block} cannot be added to blocks of {self.block}")
        older = before.numbers < self.numbers[0]
        roles = [role for role in self.losses if role in before.losses]
        if not older.any() or set(roles) != set(self.losses):
            return self
        return Evidence(
            self.block,
            np.concatenate([before.numbers[older], self.numbers]),
            np.concatenate([before.rows[older], self.rows]),
            {role: np.concatenate([before.losses[role][older], self.losses[role]]) for role in roles},
            np.concatenate([before.weights[older], self.weights]),
            (*before.attempts, attempt),
        )

    def fading(self, recency: float, fold: timedelta) -> Evidence:
        """Weigh rows by age: a row counts `recency` times as much as one of the next newer fold, counted from the end.

        Blocks of earlier attempts are weighed in the same way, so that the weights do not depend on how many attempts
        there were.

        >>> one = Evidence(timedelta(days=1), np.arange(4), np.ones(4), {}, np.ones(4))
        >>> one.fading(0.5, timedelta(days=2)).weights.tolist()
        [0.5, 0.5, 1.0, 1.0]
        """
        age = (int(self.numbers[-1]) - self.numbers) * (self.block / fold)
        return replace(self, weights=recency ** np.floor(age + _SLACK))

    def standing_in(self, role: str, place: str) -> Evidence:
        """Put the losses of a role in the place of another, such as those of the simple model for the challenger's."""
        return replace(self, losses={**self.losses, place: self.losses[role]})

    def mean(self, role: str) -> float:
        """The weighted mean row loss of a role."""
        return float((self.weights @ self.losses[role]) / (self.weights @ self.rows))

    def difference(self, role: str, other: str, confidence: float) -> Interval:
        """Bound the weighted mean of a role's row losses less those of another; below 0 the first is better."""
        sums = self.weights * (self.losses[role] - self.losses[other])
        merged = -(-len(sums) // MAX_BLOCKS)  # as in `bootstrap.Blocks`: more of them add time and no precision
        starts = np.arange(0, len(sums), merged)
        return sums_interval(
            np.add.reduceat(sums, starts),
            np.add.reduceat(self.weights * self.rows, starts),
            confidence,
        )

    def to_frame(self) -> pd.DataFrame:
        sums = {f"{_LOSS}{role}": values for role, values in self.losses.items()}
        return pd.DataFrame({_BLOCK: self.numbers, _ROWS: self.rows, _WEIGHT: self.weights, **sums})

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, block: timedelta, attempts: Sequence[str] = ()) -> Evidence:
        roles = [str(c).removeprefix(_LOSS) for c in frame.columns if str(c).startswith(_LOSS)]
        return cls(
            block,
            frame[_BLOCK].to_numpy(dtype=np.int64),
            frame[_ROWS].to_numpy(dtype=np.float64),
            {role: frame[f"{_LOSS}{role}"].to_numpy(dtype=np.float64) for role in roles},
            frame[_WEIGHT].to_numpy(dtype=np.float64),
            tuple(attempts),
        )


def _sums(codes: NDArray[np.intp], values: ArrayLike) -> Floats:
    return np.bincount(codes, np.asarray(values, dtype=np.float64)).astype(np.float64)
