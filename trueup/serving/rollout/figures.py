"""The figures of a rollout: what both versions did with the same rows, counted by each worker and added up.

A file holds the counts of one worker since its start; it is replaced as a whole. Units: a *call* is one run of a version
on the rows of one request; latencies are in microseconds; differences are challenger minus champion.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from trueup.errors import WorkError
from trueup.serving import state

Floats = npt.NDArray[np.float64]
RowsOf = Literal["shadow", "canary"]  # rows that the champion answers; rows that are the challenger's to answer

FORMAT: Final = "trueup-rollout-figures/1"
TIMEOUT: Final = "timeout"
BUSY: Final = (
    "busy"  # the error of a call that did not begin, because others waited before it: not the challenger's fault
)
BINS: Final = 64  # of predictions
LATENCY_BINS: Final = 100  # four an octave: bin i begins at 2^(i / 4) us, the last one has all from 28 s on


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one version did with the rows of one call: predictions (n, k), or an error.

    `error` is short and has no data of the rows, such as the name of an exception's class; `TIMEOUT` if the version was
    not waited for. `latency_us` is the time of the version's run alone; None if it is not known.
    """

    predictions: Floats | None
    latency_us: float | None
    error: str | None = None
    failed: bool = field(init=False)  # no prediction, or one that is not finite

    def __post_init__(self) -> None:
        object.__setattr__(self, "failed", self.predictions is None or not _all_finite(self.predictions))


@dataclass(frozen=True, slots=True)
class Scale:
    """How predictions are compared, from the limits of a rollout; all of its workers have the same.

    `low` and `high` bound the histogram (`limits["range"]`, default 0 to 1; values outside count in the outer bins).
    Differences are divided by `unit` (`limits["scale"]`, such as the standard deviation of the champion's predictions;
    default 1) and clipped at `clip` units (`limits["clip"]`, default 4). Another version is slow in a call if it took
    more than `ratio` times as long as the champion (`limits["latency_ratio"]`, default 3).
    """

    low: float = 0.0
    high: float = 1.0
    unit: float = 1.0
    clip: float = 4.0
    ratio: float = 3.0

    @classmethod
    def of(cls, limits: dict[str, Any]) -> Scale:
        """Read the scale of a rollout's limits. Raises WorkError for one that no value can have."""
        low, high = limits.get("range") or (0.0, 1.0)
        unit, clip, ratio = limits.get("scale") or 1.0, limits.get("clip") or 4.0, limits.get("latency_ratio") or 3.0
        scale = cls(*map(float, (low, high, unit, clip, ratio)))
        if not (scale.low < scale.high and min(scale.unit, scale.clip, scale.ratio) > 0):
            raise WorkError(
                f"the rollout's limits have the range {low} to {high}, scale {unit}, clip {clip} and latency_ratio {ratio}; "
                "the range must ascend and the others be positive: abort this rollout and start another one"
            )
        return scale


class Counts(msgspec.Struct, kw_only=True):
    """Counts that can be added up."""

    def add(self, other: Any) -> None:
        """Add the counts of another worker."""
        for name in self.__struct_fields__:
            setattr(self, name, _sum(getattr(self, name), getattr(other, name)))


class Output(Counts):
    """Predictions of one output (a class of a multiclass model; otherwise there is one), of finite rows."""

    n: int = 0
    sum: float = 0.0
    sum_sq: float = 0.0
    histogram: list[int] = msgspec.field(default_factory=lambda: [0] * BINS)

    @property
    def mean(self) -> float:
        """The mean; NaN without values."""
        return self.sum / self.n if self.n else float("nan")

    @property
    def deviation(self) -> float:
        """The standard deviation; NaN without values."""
        return float(max(self.sum_sq / self.n - self.mean**2, 0.0) ** 0.5) if self.n else float("nan")


class Side(Counts):
    """One version's calls. `errors` are calls by reason, timeouts among them; `non_finite` are calls, too."""

    calls: int = 0
    rows: int = 0
    errors: dict[str, int] = {}
    non_finite: int = 0
    latency: list[int] = msgspec.field(default_factory=lambda: [0] * LATENCY_BINS)
    outputs: list[Output] = []

    @property
    def timeouts(self) -> int:
        """Calls that were not waited for."""
        return self.errors.get(TIMEOUT, 0)

    @property
    def failed(self) -> int:
        """Calls without predictions."""
        return sum(self.errors.values())

    def quantile(self, share: float) -> float:
        """The latency in us below which this share of calls is, about 10 % exact; NaN without calls."""
        total, below = sum(self.latency), 0
        for i, count in enumerate(self.latency):
            below += count
            if total and below >= share * total:
                return float(2 ** ((i + 0.5) / 4))
        return float("nan")


class Difference(Counts):
    """Differences of one output: the mean over a call's rows, each in the scale's units and clipped; n is calls."""

    n: int = 0
    sum: float = 0.0
    sum_sq: float = 0.0
    clipped: int = 0  # rows


class Paired(Counts):
    """Calls in which both versions were asked."""

    calls: int = 0
    rows: int = 0
    failed_alone: int = 0  # the challenger gave an error where the champion gave none
    non_finite_alone: int = 0  # the challenger was not finite where the champion was
    both_failed: int = 0  # neither gave finite predictions
    timed: int = 0  # both latencies are known, or the challenger was not waited for
    slower: int = 0  # of these, calls in which the challenger was slower than the limit's ratio, or not waited for
    unlike: int = 0  # calls with another number of outputs, which have no differences
    differences: list[Difference] = []


class Step(Counts):
    """The calls of one step of a rollout on one kind of rows."""

    step: int
    rows_of: RowsOf
    fallbacks: int = 0  # calls that were the challenger's, and which the champion answered
    dropped: int = 0  # calls without the other version's prediction, because the queue was full
    champion: Side = msgspec.field(default_factory=Side)
    challenger: Side = msgspec.field(default_factory=Side)
    paired: Paired = msgspec.field(default_factory=Paired)

    def add(self, other: Step) -> None:
        """Add the counts of another worker for the same step and rows."""
        for name in ("fallbacks", "dropped", "champion", "challenger", "paired"):
            setattr(self, name, _sum(getattr(self, name), getattr(other, name)))


class Figures(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The counts of a rollout, of one worker or of all."""

    format: Literal["trueup-rollout-figures/1"] = FORMAT
    rollout: str
    workers: int = 1  # with counts, also those that have ended
    tripped: int = 0  # workers whose breaker stopped the canary
    trips: list[str] = []  # what tripped them
    unreadable: list[str] = []  # files whose counts are missing here
    updated_at: str | None = None  # UTC
    steps: list[Step] = []

    def step(self, step: int, rows_of: RowsOf) -> Step:
        """The counts of a step, which are added if there are none yet."""
        found = next((s for s in self.steps if (s.step, s.rows_of) == (step, rows_of)), None)
        if found is None:
            self.steps.append(found := Step(step=step, rows_of=rows_of))
        return found

    def total(self, steps: Callable[[Step], bool] = lambda _: True) -> Step:
        """Add up the counts of the steps that `steps` accepts; the result has the step -1."""
        added = Step(step=-1, rows_of="shadow")
        for step in filter(steps, self.steps):
            added.add(step)
        return added


def figures_folder(folder: Path, rollout_id: str) -> Path:
    """The folder of a rollout's figures in a model's folder of `HOME/serving`."""
    return folder / state.ROLLOUT / hashlib.sha256(rollout_id.encode()).hexdigest()[:32]


def read_figures(folder: Path, rollout_id: str) -> Figures:
    """Add up the figures of all workers; `folder` is the model's in `HOME/serving`.

    A file that is not whole is named in `unreadable`, since a decision without its counts may be wrong. Raises WorkError
    if the folder cannot be read.
    """
    added, place = Figures(rollout=rollout_id, workers=0), figures_folder(folder, rollout_id)
    try:
        for file in sorted(place.glob("[!.]*.json")):
            _add(added, file)
    except OSError as error:
        raise WorkError(
            f"{place} cannot be read: {error.strerror or error}; allow reading it, then check again"
        ) from error
    added.steps.sort(key=lambda step: (step.step, step.rows_of))
    return added


def _add(added: Figures, file: Path) -> None:
    try:
        one = msgspec.json.decode(file.read_bytes(), type=Figures)
    except (msgspec.DecodeError, UnicodeDecodeError):
        one = None
    if one is None or one.rollout != added.rollout:
        added.unreadable.append(file.name)
        return
    added.workers += one.workers
    added.tripped += one.tripped
    added.trips += one.trips
    added.updated_at = max(filter(None, (added.updated_at, one.updated_at)), default=None)
    for step in one.steps:
        added.step(step.step, step.rows_of).add(step)


def _all_finite(predictions: Floats) -> bool:
    if predictions.size == 1:  # the usual case, in a tenth of the time
        return math.isfinite(predictions.item())
    return bool(np.isfinite(predictions).all())


def _sum(one: Any, other: Any) -> Any:
    """Add counts: numbers, lists position by position, dictionaries by key, and structs by field."""
    if isinstance(one, Counts):
        one.add(other)
        return one
    if isinstance(one, dict):
        return {name: one.get(name, 0) + other.get(name, 0) for name in {**one, **other}}
    if isinstance(one, list):
        longer, shorter = (one, other) if len(one) >= len(other) else (other, one)
        return [_sum(a, b) for a, b in zip(longer, shorter, strict=False)] + longer[len(shorter) :]
    return one + other
