"""The words that travel between stages: windows, references, verdicts, metrics.

All are small, frozen and made of plain values, so that Prefect, JSON and the ledger can carry them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

# Columns that Trueup adds to what it lands; a source may not use these names.
ROW_ID = "row_id"  # int64 hash of the key columns and of the batch, so that no two rows share it
EVENT_TIME = "event_time"  # datetime64[us], without zone, in the model's time zone
LABEL = "label"
KNOWN_AT = "known_at"

Reason = Literal["first", "decayed", "stale", "shifted", "grown", "manual", "schedule"]  # why a retrain was asked for
Retrain = Literal["inline", "event", "never"]  # who follows a diagnosis that asks for one
Burden = Literal[
    "routine", "change"
]  # what is known beforehand of a challenger: newer data alone, or something else, too
Starter = Literal["person", "automation", "schedule", "process"]  # what started the work that a decision came from


@dataclass(frozen=True)
class Actor:
    """Who or what started something. `name` is a person's where one gave it, else the account's or the automation's.

    A name is what somebody says of themself: nothing here proves it, so the account stands beside it.
    """

    kind: Starter
    name: str
    account: str  # of the operating system, under which the process ran
    via: Literal["command line", "Prefect", "a program"]  # the way in
    flow_run: str | None = None  # its id in Prefect


class Status(StrEnum):
    """The three answers a check may give. "Could not check" is never a pass."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, order=True)
class Window:
    """A half-open span of event time, [start, end)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError(f"a window ends after it starts: [{self.start}, {self.end})")

    def __contains__(self, moment: datetime) -> bool:
        return self.start <= moment < self.end

    def overlaps(self, other: Window) -> bool:
        """Say whether the two windows share a moment."""
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"[{self.start:%Y-%m-%d}, {self.end:%Y-%m-%d})"


@dataclass(frozen=True)
class Fold:
    """A cut-off: what the recipe is fitted on, and the rows that follow, which judge that fit."""

    train: Window
    judged: Window


@dataclass(frozen=True)
class BatchRef:
    """One landed revision of one window of a dataset; the data itself stays in the store.

    `path` is relative to the home; `sequence` grows with each landing, whatever the clock says.
    """

    dataset: str
    window: Window
    revision: int
    sequence: int
    path: str
    sha256: str
    rows: int
    facts: dict[str, Any] = field(default_factory=dict)  # counted at landing: duplicates, coerced, mixed, extra columns

    @property
    def name(self) -> str:
        """The batch in words: its window and revision."""
        return f"{self.window} r{self.revision}"


@dataclass(frozen=True)
class Batch:
    """Rows and labels of the same window, landed as two datasets."""

    rows: BatchRef
    labels: BatchRef

    @property
    def window(self) -> Window:
        """The span of event time that both cover."""
        return self.rows.window

    @property
    def landed(self) -> int:
        """Landing sequence of the newer of both: another number for every revision of either."""
        return max(self.rows.sequence, self.labels.sequence)


@dataclass(frozen=True)
class Metric:
    """A figure with what it rests on. `low` and `high` bound its interval at `confidence`, where one was made."""

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    confidence: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.name} {self.value:.4g}{interval}, n={self.n:,}"


@dataclass(frozen=True)
class Verdict:
    """The answer of one check: a status, reasons in words, and the figures behind them."""

    check: str
    status: Status
    reasons: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def passed(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        """A pass, with reasons."""
        return cls(check, Status.PASS, reasons, figures)

    @classmethod
    def failed(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        """A fail, with reasons."""
        return cls(check, Status.FAIL, reasons, figures)

    @classmethod
    def inconclusive(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        """Could not tell, with reasons."""
        return cls(check, Status.INCONCLUSIVE, reasons, figures)

    @property
    def ok(self) -> bool:
        """True for a pass only."""
        return self.status is Status.PASS

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and the ledger."""
        return {**asdict(self), "status": self.status.value, "reasons": list(self.reasons)}


def overall(verdicts: Iterable[Verdict]) -> Status:
    """Fail if any failed, else inconclusive if any was, else pass. No verdict at all is inconclusive.

    >>> overall([Verdict.passed("a"), Verdict.inconclusive("b")])
    <Status.INCONCLUSIVE: 'inconclusive'>
    >>> overall([])
    <Status.INCONCLUSIVE: 'inconclusive'>
    """
    found = {v.status for v in verdicts}
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        if status in found:
            return status
    return Status.PASS if found else Status.INCONCLUSIVE
