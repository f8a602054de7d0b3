"""The facts of a dossier: its JSON, and what its page shows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from trueup.domain.learning.recipe import Recipe
from trueup.domain.types import Actor, Metric, Window
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.part import Part, Plain, Span
from trueup.ledger.record import (
    Approver,
    Data,
    Epochs,
    Evaluated,
    EvidenceRecord,
    FittedOn,
    Governance,
    Input,
    RolloutState,
    Search,
    Serving,
    Slice,
    Trigger,
    Validation,
)

RIGHT, CHANGED, GONE = "right", "changed", "gone"


class Purpose(Governance):
    """The statements of responsible people, as recorded with the decision."""

    source: str
    changed_since: bool  # whether today's config differs


class EntryFacts(Part):
    """A ledger entry about the version."""

    sequence: int
    as_of: datetime
    recorded_at: datetime
    outcome: str
    version: int | None = None
    reasons: tuple[str, ...]
    hash: str


class DecisionFacts(EntryFacts):
    """The decision on the version."""

    signed_with: str | None
    problems: tuple[str, ...]
    trigger: Trigger
    asked_by: str | None
    actor: Actor
    approver: Approver | None
    previous: Serving | None
    epoch: Epochs
    rollout: RolloutState | None = None


class Ended(Part):
    """The end of a term: the kind of entry, and the version that followed."""

    by: str
    version: int


class Term(Part):
    """A span in which the version was champion."""

    since: datetime
    until: datetime | None
    put_by: str
    ended: Ended | None


class Fit(FittedOn):
    """How this version was fitted, and which one was judged."""

    refitted: bool
    judged_version: int
    judged: FittedOn
    features: Plain


class ReadInput(Input):
    """A revision that was read; `state` compares it with today's."""

    state: str


class Worse(Part):
    """Slices in which the model loses more than on all rows, or than the champion, and those with too few rows."""

    than_average: tuple[Slice, ...]
    than_champion: tuple[Slice, ...]
    too_small: tuple[Slice, ...]


class Measured(Evaluated):
    """The figures of the judgement; `state` compares the rows behind them with the recorded digest."""

    feature_schema: None = None  # type: ignore[assignment]  # a dossier lists the features elsewhere
    state: str
    worse: Worse


class CalibrationBin(Part):
    """Predicted and observed shares."""

    low: float
    high: float
    rows: int
    predicted: float
    observed: float


class Check(Part):
    """A verdict with the question that it answers and its rule in words."""

    check: str
    status: str
    reasons: tuple[str, ...]
    figures: Plain
    heading: str
    rule: str


class Column(Part):
    """A feature in the training rows: quantiles of a number, shares of the rest."""

    feature: str
    rows: int
    missing: float
    low: float | None = None
    middle: float | None = None
    high: float | None = None
    categories: int | None = None
    most: dict[str, float] | None = None


class File(Part):
    """A file that the record names; `state` compares it with the recorded digest."""

    what: str
    digest: str | None
    state: str


class Lineage(Part):
    """The recipe, files, code and config of the version."""

    run_id: str
    format: str
    manifest_digest: str
    recipe: Recipe
    search: Search | None
    config_digest: str
    policy_digest: str
    config_is_the_same: bool
    received: Elsewhere | None = None  # where it was trained, if not here
    code: dict[str, str | int]


class Need(Part):
    """One thing that a rebuild needs, and whether it is here unchanged."""

    what: str
    met: bool
    message: str = Field(alias="said")


class Rebuilt(Part):
    """When a version was last made again, and the result in words."""

    at: datetime
    message: str = Field(alias="said")


class Rebuild(Part):
    """How to make the version again."""

    command: str
    needs: tuple[Need, ...]
    ready: bool
    home: str
    last: Rebuilt | None


class Source(Part):
    """The source of the rows, in words."""

    words: str


class ServedBatch(Span):
    """The newest monitoring of a batch that the version served, with the deciding loss."""

    diagnosis: str
    labels: int
    value: float | None
    low: float | None
    high: float | None
    estimated: float | None = None  # the same loss, without the batch's labels


class Bill(Part):
    """The bill of materials beside the page, or why it is missing."""

    file: str | None = None
    format: str | None = None
    packages: int | None = None
    licences: dict[str, int] = Field(default_factory=dict)
    note: str = ""


class Facts(Part):
    """All facts about a version."""

    dossier: Literal[1] = 1
    made_at: datetime
    model: str
    version: int
    registered_name: str
    task: str
    unit: str
    standing: str
    purpose: Purpose
    decision: DecisionFacts
    proposal: DecisionFacts | None
    history: tuple[EntryFacts, ...]
    terms: tuple[Term, ...]
    fitted: Fit
    data: Data
    gate: Window
    evidence: EvidenceRecord | None
    batches: tuple[ReadInput, ...]
    validation: Validation
    evaluation: Measured
    calibration: tuple[CalibrationBin, ...] | None
    verdicts: tuple[Check, ...]
    baseline: tuple[Column, ...] | None
    files: tuple[File, ...]
    lineage: Lineage
    rebuild: Rebuild
    source: Source
    timezone: str
    label_words: str
    served: tuple[ServedBatch, ...]
    take_back: str
    environment: dict[str, str | int]
    sbom: Bill
    pictures: dict[str, str]  # why a picture is missing


def confidence(intervals: Sequence[Metric | Slice]) -> str:
    """The confidence of an evaluation's intervals, the same for all."""
    return next((f"{100 * i.confidence:g} %" for i in intervals if i.confidence), "95 %")
