"""Shared by both sides of `overhead`: the fits that were made, and the work to repeat."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from trueup.domain.learning import learning


@dataclass(frozen=True)
class Turn:
    """One turn of the loop, as Trueup made it: the fits and their rows. Times are ISO 8601."""

    start: str  # of the batch
    end: str  # of the batch, and `as_of` of the turn
    watched: bool  # whether a cheap reference was fitted to watch the champion
    trials: tuple[dict[str, Any], ...] = ()  # recipes that were tried
    recipe: dict[str, Any] | None = None  # the one that was fitted; None where nothing was trained
    gate: tuple[str, str] | None = None
    walked: tuple[str, ...] = ()  # earlier cut-offs at which the recipe was fitted, too
    refitted: bool = False
    promoted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def moment(text: str) -> datetime:
    """Parse a time of a turn."""
    return datetime.fromisoformat(text)


@contextmanager
def counting_fits() -> Iterator[list[int]]:
    """Count the models fitted in the block, by the rows of each."""
    rows: list[int] = []
    plain = learning.fit_steps

    def fit_steps(model: Any, X: Any, *args: Any) -> None:
        rows.append(len(X))
        plain(model, X, *args)

    learning.fit_steps = fit_steps
    try:
        yield rows
    finally:
        learning.fit_steps = plain
