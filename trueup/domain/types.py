"""Shared types (windows, references, verdicts, metrics): small, frozen, and made of plain values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

# Columns that Trueup adds when it lands rows; a source may not use these names.
ROW_ID = "row_id"  # int64 hash of the key columns and of the batch, so that no two rows share it
EVENT_TIME = "event_time"  # datetime64[us], without zone, in the model's time zone
LABEL = "label"
KNOWN_AT = "known_at"

Reason = Literal["first", "decayed", "stale", "shifted", "grown", "manual", "schedule"]  # the reason of a retrain
Proposed = Reason | Literal["received"]  # why a model is judged: a retrain, or another environment sent it
Retrain = Literal["inline", "event", "never"]  # who starts a retrain after a diagnosis
Burden = Literal["routine", "change"]  # the burden of proof: only newer data, or another change, too
Starter = Literal["person", "automation", "schedule", "process"]  # what started the work behind a decision

Figures = dict[str, Any]  # of a check, behind its reasons: plain values under names of its own
Facts = dict[str, Any]  # what a landing counted: duplicates, coerced, mixed, extra columns


@dataclass(frozen=True)
class Actor:
    """The person or program that started something. `name` is given by the person, else that of the account or automation.

    A given name is not verified, so the account is recorded beside it.
    """

    kind: Starter
    name: str
    account: str  # of the operating system
    via: Literal["command line", "Prefect", "a program"]  # the way in
    flow_run: str | None = None  # its id in Prefect


class Status(StrEnum):
    """The three results of a check. "Could not check" is never a pass."""

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
        return self.start < other.end and other.start < self.end

    def __str__(self) -> str:
        return f"[{self.start:%Y-%m-%d}, {self.end:%Y-%m-%d})"


@dataclass(frozen=True)
class Fold:
    """A cut-off: the rows that the recipe is fitted on, and the rows that follow and judge that fit."""

    train: Window
    judged: Window


@dataclass(frozen=True)
class BatchRef:
    """One landed revision of one window of a dataset; the data itself stays in the store.

    `path` is relative to the home. `sequence` grows with each landing, independent of the clock.
    """

    dataset: str
    window: Window
    revision: int
    sequence: int
    path: str
    sha256: str
    rows: int
    facts: Facts = field(default_factory=dict)

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
        return self.rows.window

    @property
    def landed(self) -> int:
        """Landing sequence of the newer of both; it differs for every revision of either."""
        return max(self.rows.sequence, self.labels.sequence)


@dataclass(frozen=True)
class Metric:
    """A figure. `low` and `high` bound its interval at `confidence`, if there is one."""

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
    """The result of one check: a status, reasons in words, and figures."""

    check: str
    status: Status
    reasons: tuple[str, ...] = ()
    figures: Figures = field(default_factory=dict)

    @classmethod
    def passed(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        return cls(check, Status.PASS, reasons, figures)

    @classmethod
    def failed(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        return cls(check, Status.FAIL, reasons, figures)

    @classmethod
    def inconclusive(cls, check: str, *reasons: str, **figures: Any) -> Verdict:
        return cls(check, Status.INCONCLUSIVE, reasons, figures)

    @property
    def ok(self) -> bool:
        """True for a pass only."""
        return self.status is Status.PASS


def overall(verdicts: Iterable[Verdict]) -> Status:
    """Return fail if any failed, else inconclusive if any was, else pass. Without verdicts the result is inconclusive.

    >>> overall([Verdict.passed("a"), Verdict.inconclusive("b")])
    <Status.INCONCLUSIVE: 'inconclusive'>
    >>> overall([])
    <Status.INCONCLUSIVE: 'inconclusive'>
    """
    statuses = {v.status for v in verdicts}
    for status in (Status.FAIL, Status.INCONCLUSIVE):
        if status in statuses:
            return status
    return Status.PASS if statuses else Status.INCONCLUSIVE
