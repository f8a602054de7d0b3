"""Results that stages pass to each other: references and verdicts, never data.

All are frozen and made of plain values, so that an orchestrator can store, show or move them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.recipe import Recipe, Trial
from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import Batch, Burden, Fold, Metric, Proposed, Status, Verdict, Window
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.record import Ablated, Input

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from trueup.domain.judging.gates.behaviour import Violations
    from trueup.domain.judging.gates.budget import Cost
    from trueup.domain.judging.metrics import SliceLoss

Outcome = Literal["promoted", "pending", "rollout", "rejected", "held", "refused", "rolled_back", "override", "none"]
Role = Literal["judged", "refitted"]

FITTED = "fitted"  # role of the fitted model's own predictions before it was written to files


@dataclass(frozen=True)
class Checked:
    """A validated batch. A broken one is kept and not used."""

    batch: Batch
    status: Status
    reasons: tuple[str, ...]
    quarantined: int
    warnings: tuple[str, ...] = ()
    basis: str = ""  # a new judgement makes the results of later stages new

    @property
    def usable(self) -> bool:
        """False for a broken batch only; too few rows are still scored."""
        return self.status is not Status.FAIL


@dataclass(frozen=True)
class Validated:
    """The stored part of a validation; `judgement` is the digest of the rows in quarantine."""

    status: Status
    reasons: tuple[str, ...]
    quarantined: int
    judgement: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Search:
    """How a recipe was found: the trials, what ended them, and the seconds that fitting took."""

    trials: tuple[Trial, ...]
    stopped_by: str
    seconds: float


@dataclass(frozen=True)
class OnnxForm:
    """The ONNX form of a fitted model: the digest and size of its file, and the seconds that making it took.

    A model without one has a verdict with the reason instead.
    """

    sha256: str | None = None
    bytes: int | None = None
    seconds: float = 0.0
    missing: Verdict | None = None


@dataclass(frozen=True)
class Trained:
    """A fitted challenger on disk, with everything needed to fit it again."""

    recipe: Recipe
    train: Window
    gate: Window
    trained_until: datetime  # event time of its newest training row
    rows: int
    data_digest: str  # digest of its batches, windows and parameters
    uri: str  # of the logged model
    manifest_digest: str  # over its files
    run_id: str
    baseline_path: str  # Parquet with a sample of the training rows and its predictions, relative to the home
    inputs: tuple[Input, ...] = ()
    search: Search | None = None
    classes: list[str] | None = None  # for a multiclass task, its classes in the order of its probabilities
    gone: tuple[str, ...] = ()  # features without recent values, which it does not use
    folds: tuple[Fold, ...] = ()  # earlier cut-offs at which its recipe is also judged
    form: OnnxForm | None = None  # None: the config has no `export`
    received: Elsewhere | None = None  # where it was trained, if not here; then no recipe is fitted here


@dataclass(frozen=True)
class Weighed:
    """All evidence about a challenger: its place, its rows and earlier attempts, and the burden of proof."""

    path: str  # Parquet with sums of row losses by block of time, relative to the home
    start: datetime
    end: datetime
    rows: int
    folds: tuple[tuple[datetime, datetime], ...] = ()  # start of each earlier fold, and end of its training rows
    against: str | None = None  # digest of the compared champion's files
    earlier: tuple[str, ...] = ()  # runs of the attempts with older rows
    attempt: int = 1  # against this champion, including this one
    burden: Burden = "routine"
    changed: tuple[str, ...] = ()  # what differs from the champion: family, features, config, code
    method: dict[str, str] = field(default_factory=dict)  # digests of these
    contender: str = "challenger"  # the simple model or the prior, if it takes the challenger's place
    missing: str = ""  # why evidence of earlier attempts does not count


@dataclass(frozen=True)
class Evaluation:
    """The judged rows' place, and the figures from them."""

    path: str  # Parquet with the gate rows and every model's predictions, relative to the home
    sample_path: str  # Parquet with features, labels and the challenger's predictions of some of them
    schema: FeatureSchema
    rows: int
    predicted: list[str]  # roles with stored predictions: challenger, champion, prior, simple
    classes: list[str] | None  # of a multiclass task, in the order of the probabilities
    metrics: dict[str, dict[str, float]]  # by role: challenger, champion, prior, simple
    intervals: tuple[Metric, ...]  # the challenger's metrics with intervals
    skill: Skill | None  # the challenger's paired skill; None if the reference made no error
    weighed: Weighed  # the gate rows and all others that count
    slices: list[SliceLoss] = field(default_factory=list)
    champion_epoch: int | None = None  # of the compared champion, 0 without one
    reference_rows: int | None = None  # labelled rows that the prior, the simple model and the reference learned from
    behaviour: list[Violations] = field(default_factory=list)
    budget: list[Cost] = field(default_factory=list)
    ablation: list[Ablated] = field(default_factory=list)
    without_champion: str = ""  # why it was not compared with the champion, if there is one
    stand_in: Trained | None = None  # the model that takes the challenger's place, if one does


def baseline_name(manifest_digest: str) -> str:
    """Name of the sample of a model's training rows in the store."""
    return f"{manifest_digest[:32]}-baseline"


def sample_name(run_id: str) -> str:
    """Name of the sample of a run's gate rows in the store."""
    return f"{run_id}-sample"


def evidence_name(run_id: str) -> str:
    """Name of the evidence about a run's challenger in the store."""
    return f"{run_id}-evidence"


def prediction_columns(role: str, classes: list[str] | None) -> list[str]:
    """The columns of a model's predictions in a file."""
    return [f"p_{role}"] if classes is None else [f"p_{role}_{c}" for c in classes]


def columns_of(role: str, prediction: NDArray[Any], classes: list[str] | None) -> dict[str, NDArray[Any]]:
    """A model's predictions, (n,) or (n, k), as columns of a file."""
    values = prediction[:, None] if prediction.ndim == 1 else prediction
    return dict(zip(prediction_columns(role, classes), values.T, strict=True))


def prediction_of(frame: pd.DataFrame, role: str, classes: list[str] | None) -> NDArray[Any]:
    """The predictions in such a file: (n,), or (n, k) for a multiclass task."""
    values = frame[prediction_columns(role, classes)].to_numpy()
    return values[:, 0] if classes is None else values


@dataclass(frozen=True)
class Candidate:
    """A registered version."""

    name: str
    version: int
    run_id: str
    uri: str
    manifest_digest: str
    trained_until: datetime
    role: Role


@dataclass(frozen=True)
class Exported:
    """A model's ONNX form with the verdicts about it; `seconds` are those of making and checking it."""

    form: OnnxForm | None
    verdicts: tuple[Verdict, ...]
    seconds: float


@dataclass(frozen=True)
class Refitted:
    """The accepted recipe fitted again with the gate window, and whether it may replace the judged model."""

    trained: Trained
    verdict: Verdict
    candidate: Candidate | None  # registered only when the verdict is a pass
    exported: Exported | None = None


@dataclass(frozen=True)
class Drained:
    """What became of the records in the log of `trueup serve`."""

    records: int = 0
    new: int = 0  # predictions that count as those of their rows
    again: int = 0  # of rows that had a prediction already: the first one served counts
    shadows: int = 0  # predictions beside the answer, which are compared with it
    features: int = 0  # rows whose features are kept as they were used
    unmatched: int = 0  # of the new ones: of rows that their landed batch does not have
    tests: int = 0  # asked without the scope `record`
    unjoinable: int = 0  # without key or event time, or with others than the model's
    errors: int = 0  # without a prediction
    before: int = 0  # of rows from before the end of the version's training
    retired: int = 0  # of batches whose predictions were removed by retention
    unknown_versions: int = 0  # of a version, or an epoch, that the ledger does not know
    broken: int = 0  # damaged records
    torn: int = 0  # files that a killed process or machine left with half a record at the end

    def __add__(self, other: Drained) -> Drained:
        return Drained(**{name: count + getattr(other, name) for name, count in vars(self).items()})

    @property
    def words(self) -> tuple[str, ...]:
        """What a person should know, in words."""
        named = {
            "again": "of rows that had a prediction already",
            "unjoinable": "without a key and an event time of this model",
            "unmatched": "of rows that their batch does not have",
            "errors": "failed",
            "tests": "not of record",
            "before": "of rows from before the end of the training",
            "retired": "of batches whose retention is over",
            "unknown_versions": "of versions that the ledger does not know",
            "broken": "damaged, left out",
        }
        counted = [f"{count:,} {text}" for name, text in named.items() if (count := getattr(self, name))]
        return (*counted, f"{self.torn:,} incomplete at the end of a file, dropped") if self.torn else tuple(counted)


@dataclass(frozen=True)
class Scored:
    """The predictions of a batch."""

    window: Window
    version: int | None
    new: int  # new predictions
    total: int
    note: str = ""
    drained: Drained | None = None  # from the log of servers, while the batch was predicted; None for nothing


@dataclass(frozen=True)
class Observed:
    """A monitored batch: its findings, the diagnosis first, and the figures behind them."""

    window: Window
    diagnosis: str
    reasons: tuple[str, ...]
    figures: MonitoringResult
    findings: tuple[str, ...]

    @property
    def rolled_back(self) -> bool:
        """Whether the champion lost its probation and was rolled back."""
        return self.figures.probation is not None and self.figures.probation.verdict is Status.FAIL


@dataclass(frozen=True)
class Attempt:
    """Everything that a decision depends on. A hold has no challenger."""

    reason: Proposed
    as_of: datetime
    hold: str | None = None
    trained: Trained | None = None
    evaluation: Evaluation | None = None
    judged: Candidate | None = None
    verdicts: tuple[Verdict, ...] = ()
    exported: Exported | None = None  # of the judged model
    refitted: Refitted | None = None
    digest: str | None = None  # digest of everything that the training and its judgement depend on
    received: Elsewhere | None = None  # where the model was trained, if not here
    in_loop: bool = False  # started by the loop itself
    asked_at: datetime | None = None  # wall clock, with offset


@dataclass(frozen=True)
class Decided:
    """The end of a retrain: the outcome, the reasons, and the ledger entry."""

    outcome: Outcome
    reasons: tuple[str, ...]
    version: int | None = None
    sequence: int | None = None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Cycle:
    """The result of one turn of the loop."""

    model: str
    as_of: datetime
    batches: tuple[Checked, ...]
    scored: tuple[Scored, ...]
    observed: tuple[Observed, ...]
    decided: Decided
    released: tuple[Scored, ...] = ()  # batches handled before, scored for rows released since
    problem: str | None = None  # problems of the data as a whole
    drained: Drained | None = None  # from the log of servers; None without `serve`
    seconds: dict[str, float] = field(
        default_factory=dict, compare=False
    )  # wall seconds by stage, a retrain's included

    @property
    def broken(self) -> bool:
        """Whether a batch failed validation."""
        return not all(checked.usable for checked in self.batches)


@dataclass(frozen=True)
class Spent:
    """What a run cost: wall seconds by stage."""

    seconds: dict[str, float]
