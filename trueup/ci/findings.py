"""The result of a comparison: what was found about one model, and what of it fails a pull request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from trueup.ci.job import BatchSeen
from trueup.config.sections.ci import Finding
from trueup.domain.judging.metrics import ComparedSliceLoss
from trueup.domain.profiling.leaks import Suspect
from trueup.domain.types import Metric, Verdict

BETTER, WORSE, SAME = "better", "worse", "no difference shown"
LEAK, NOT_COMPARED, NEW, DELETED = "leak", "not compared", "new model", "deleted"


_HIGHER = {"auc", "auc_ovr", "accuracy", "average_precision", "r2"}


def better(metric: str) -> str:
    """Which values of a metric are better: higher or lower."""
    return "higher" if metric in _HIGHER else "lower"


@dataclass(frozen=True)
class Found:
    """One finding, in a sentence. `fails` says whether the rule of the base fails the pull request for it."""

    kind: Finding
    sentence: str
    fails: bool = False


@dataclass(frozen=True)
class Measured:
    """A metric on the judged rows of both sides, and head minus base with its interval, if there is one."""

    name: str
    base: Metric | None
    head: Metric | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class FeatureChange:
    """A feature that only one side has. `drift` compares its training rows with the judged rows, from 0 (alike) to 1.

    It is the Kolmogorov-Smirnov distance of numbers, and the Jensen-Shannon distance to base 2 of categories.
    """

    name: str
    change: str  # added or removed
    drift: float | None
    missing_before: float | None  # share of the training rows
    missing_after: float | None  # share of the judged rows


@dataclass(frozen=True)
class Cost:
    """The cost of one side, and what was fitted."""

    seconds: float
    cpu_seconds: float
    memory_mib: float
    family: str = ""
    trials: int = 0
    train_rows: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """What was found about one model. `verdict` is the first word, `findings` say why, `remarks` do not decide."""

    model: str
    verdict: str
    findings: tuple[Found, ...] = ()
    remarks: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    metrics: tuple[Measured, ...] = ()
    slices: tuple[ComparedSliceLoss, ...] = ()
    features: tuple[FeatureChange, ...] = ()
    suspects: tuple[Suspect, ...] = ()  # of the head only
    known_suspects: tuple[Suspect, ...] = ()  # of the base too
    strong: tuple[Suspect, ...] = ()
    batches: Mapping[str, tuple[BatchSeen, ...]] = field(default_factory=dict)
    costs: Mapping[str, Cost] = field(default_factory=dict)
    rows: int = 0
    judged_from: datetime | None = None
    judged_until: datetime | None = None
    fail_on: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether any finding fails the pull request."""
        return any(found.fails for found in self.findings)


@dataclass(frozen=True)
class TestsRun:
    """The project's tests of the head: passed, failed, or none."""

    __test__ = False  # of pytest

    outcome: str
    summary: str
    output: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """The comparison of a pull request."""

    base_name: str
    base: str
    head: str
    behind: int
    comparisons: tuple[Comparison, ...]
    tests: TestsRun | None
    fails: bool
    seconds: float
    links: Mapping[str, str] = field(default_factory=dict)
