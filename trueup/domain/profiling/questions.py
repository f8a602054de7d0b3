"""A person's answers about a new table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.data.periods import Period
from trueup.errors import UsageError
from trueup.hints import did_you_mean


@dataclass(frozen=True)
class Ask:
    """The answers about the table."""

    name: str
    data: str
    time: str
    label: str
    key: tuple[str, ...] = ()
    available_after: timedelta | None = None
    query: str | None = None
    labels: str | None = None
    labels_query: str | None = None
    task: Task | None = None
    positive: str | None = None
    above: float | None = None
    timezone: str = "UTC"
    period: Period | None = None
    until: datetime | None = None  # use only earlier rows


def require_columns(raw: pd.DataFrame, names: Sequence[str], data: str) -> None:
    """Raise UsageError if a named column does not exist, with a similar name."""
    have = [str(c) for c in raw.columns]
    absent = [n for n in names if n not in have]
    if absent:
        hints = [f"{n} ({hint})" if (hint := did_you_mean(n, have)) else n for n in absent]
        raise UsageError(f"{data} has no column {', '.join(hints)}; it has {', '.join(have)}")
