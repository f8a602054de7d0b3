"""What the comparing process and the processes of the two sides tell each other, as JSON files in a folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from trueup.domain.data.periods import Period
from trueup.domain.types import Status

ROW = "trueup_row"  # the name of a sample's row; text, so that no value that means "missing" is one
OUTCOME, OUTCOME_AT = "trueup_outcome", "trueup_outcome_known_at"  # of the base, in the sample of both sides

JOB, FRAME, REPORT, ERROR, TRAINED = "job.json", "frame.json", "report.json", "error.json", "trained.json"
SAMPLE, RAW, LABELS = "sample.parquet", "raw.parquet", "labels.parquet"
LATER, LATER_BLIND = "later.parquet", "later-blind.parquet"
BEFORE = "before.parquet"  # the first content of `SAMPLE`, which `LATER` replaces
PREDICTIONS, FEATURES = "predictions.parquet", "features.parquet"

Role = Literal["base", "head", "new"]  # `new`: the head of a model that the base does not have


@dataclass(frozen=True)
class Frame:
    """The sample and the split, as the base's config defines them. Moments are in the model's time zone, without offset.

    Rows before `cut` may train, those of [cut, end) judge. `known_late` is the time of the oldest row before `cut` whose
    label became known after it.
    """

    task: str
    time: str
    timezone: str
    key: list[str]
    period: Period
    start: datetime
    cut: datetime
    end: datetime  # of the judged rows
    until: datetime  # of the last batch
    as_of: datetime  # all labels of the sample are known then
    rows: int
    known_late: datetime | None
    keep: list[str]  # columns that the base lands besides


@dataclass(frozen=True)
class Job:
    """The work of one side. With a `frame` the sample is there; without one, the side makes both."""

    model: str
    role: Role
    configs: Path
    folder: Path
    rows: int = 50_000
    sample: str | None = None
    label_sample: str | None = None
    frame: Frame | None = None


@dataclass(frozen=True)
class BatchSeen:
    """The validation of one batch of the sample by a side's expectations."""

    start: datetime
    rows: int
    quarantined: int
    status: Status
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """What a side tells about itself. A head's report is a text of strangers: only its broken batches count."""

    family: str
    parameters: dict[str, Any]
    trials: int
    train_rows: int
    train_start: datetime
    trained_until: datetime
    numeric: list[str]
    categorical: list[str]
    columns: list[str]  # of the source, from which features are computed
    classes: list[str] | None
    batches: list[BatchSeen]
    seconds: dict[str, float]
    versions: dict[str, str]


@dataclass(frozen=True)
class Trained:
    """Sent when a side has trained: its features may need the labels of judged rows, each from when it was known."""

    history_of_labels: bool


@dataclass(frozen=True)
class Failure:
    """Why a side could not do its work."""

    message: str
    kind: str
