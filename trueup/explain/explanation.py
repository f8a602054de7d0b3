"""What is known about one prediction, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trueup.domain.types import Window

HIDDEN = "(personal)"  # in place of the value of a column with personal data


@dataclass(frozen=True)
class Served:
    """The prediction of record: the first one that was made for the row. It never changes.

    `prediction` is the probability of the positive class, a value, or the most probable class with the `probabilities` of
    all. `predicted_at` is the `as_of` of the run that made it, or the moment of a server's answer.
    """

    version: int
    prediction: float | str
    probabilities: dict[str, float] | None
    predicted_at: datetime
    online: bool  # the features that a server used are kept


@dataclass(frozen=True)
class Feature:
    """One input of the model: its value as computed at the row's own time, and as a server used it if that differs.

    `online` is encoded as the model's graph takes it: a category is its number, a missing value is None.
    """

    name: str
    value: Any
    online: Any = None
    differs: bool = False


@dataclass(frozen=True)
class Contribution:
    """How far one feature moves the score from `base`, and the standard error of that if it was sampled."""

    feature: str
    value: Any
    contribution: float
    error: float = 0.0


@dataclass(frozen=True)
class Contributions:
    """How the features make the score: `base` and all contributions add up to it.

    `base` is the mean score of `background` training rows. `scale` names the score, such as log-odds. `gap` is the score
    less `base` and the contributions: the error of floating-point sums, unless something is wrong.
    """

    scale: str
    method: str
    exact: bool
    base: float
    score: float
    gap: float
    background: int
    parts: tuple[Contribution, ...]  # the largest first


@dataclass(frozen=True)
class Neighbour:
    """A training row near the explained one: its distance from 0 to 1, its outcome, and the model's prediction for it.

    `unlike` are the features that differ most, with the neighbour's values.
    """

    distance: float
    event_time: datetime
    outcome: float | str
    prediction: float
    unlike: dict[str, Any]


@dataclass(frozen=True)
class SliceCalibration:
    """A declared slice with the row in it, on the gate rows: the mean prediction beside the mean outcome.

    `low` and `high` bound `observed` at `confidence`, over blocks of time; None where the slice is too small.
    """

    slice: str
    rows: int
    predicted: float
    observed: float
    low: float | None
    high: float | None
    confidence: float


@dataclass(frozen=True)
class Outcome:
    """The newest label of the row, and the moment from which it counts."""

    value: float | str
    known_at: datetime | None


@dataclass(frozen=True)
class Explanation:
    """All about one prediction. `notes` say what could not be shown and why, and what does not agree."""

    model: str
    key: dict[str, str]
    row_id: int
    batch: Window
    revision: int
    event_time: datetime
    row: dict[str, Any]  # as it landed
    quarantined: tuple[str, ...]  # expectations that it failed, if it is in quarantine
    served: Served | None
    version: int | None  # the explained version: the one that served, unless another one was asked for
    recomputed: float | str | None  # its prediction from the features below
    difference: float | None  # of the recomputed prediction from the served one; None if another version served
    same: bool | None = None  # whether both are equal but for the last bits of sums
    features: tuple[Feature, ...] = ()
    contributions: Contributions | None = None
    target: str | None = None  # the class that contributions, neighbours and slices are about, of a multiclass task
    neighbours: tuple[Neighbour, ...] = ()
    neighbours_of: int = 0  # training rows that were compared
    slices: tuple[SliceCalibration, ...] = ()
    outcome: Outcome | None = None
    notes: tuple[str, ...] = field(default=())
