"""The body of a ledger entry: who asked and why, for which model, on which data, by which rules.

A rejection is recorded as fully as a promotion. Each kind of entry has its own parts. An absent key and a null one are
written differently, because the hash covers the text.
"""

from __future__ import annotations

from datetime import datetime
from typing import Self

from pydantic import Field

from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.probation import ProbationLook
from trueup.domain.learning.recipe import Recipe
from trueup.domain.monitoring.diagnosis import Skill
from trueup.domain.types import Actor, Metric, Verdict, Window
from trueup.ledger.elsewhere import Elsewhere
from trueup.ledger.form_record import ExportRecord, FormRecord
from trueup.ledger.part import Part, Plain, Span

Recorded = dict[str, str | None]  # digests of the config and of the user's own modules, as the home keeps them


class Announced(Part):
    """The event that requested a retrain."""

    id: str
    topic: str
    announced_at: datetime


class Diagnosed(Span):
    """The diagnosis of a batch at the request of a retrain."""

    name: str
    reasons: tuple[str, ...]
    as_of: datetime


class Trigger(Part):
    """The reason of a retrain: the run itself (`loop`), an event, a schedule or a person's request."""

    reason: str
    kind: str
    as_of: datetime | None = None
    asked_at: datetime | None = None  # wall clock, with offset
    event: Announced | None = None
    diagnosis: Diagnosed | None = None


class Epochs(Part):
    """The epoch of the champion that was judged against, and the one that the decision leads to."""

    expected: int
    resulting: int


class Serving(Part):
    """A version as champion: `previous` is the one that a decision replaced, `promotion` the one that it promoted."""

    version: int
    manifest_digest: str
    epoch: int


class Governance(Part):
    """The statements of the people who are responsible for the model."""

    about: str = ""
    owner: str = ""
    risk_tier: str | None = None
    intended_use: str = ""
    limitations: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    personal_inputs: dict[str, str] = {}


class FittedOn(Part):
    """The rows that a model was fitted on."""

    trained_from: datetime
    trained_until: datetime
    rows: int
    data_digest: str


class Made(FittedOn):
    """A fitted model: its files, and the rows that it was fitted on."""

    version: int
    uri: str
    manifest_digest: str
    run_id: str
    baseline_path: str  # a sample of the training rows
    baseline_digest: str | None
    gone: tuple[str, ...] = ()  # features without a value for some batches, which it does without

    @property
    def fitted_on(self) -> FittedOn:
        """The rows alone."""
        return FittedOn.model_validate(self.model_dump(include=set(FittedOn.model_fields)))


class Fitted(Made):
    """The version that a decision is about, and the recipe that it was made by."""

    name: str
    format: str
    recipe: Recipe
    features: Plain  # the section of the config
    method: dict[str, str] = {}


class Rows(Span):
    """A window with its labelled rows, and the digest of the revisions that they come from."""

    rows: int | None
    digest: str


class Labels(Part):
    """The definition of the label, and when it is known."""

    column: str
    known_after: str | None
    known_at: str | None


class Data(Part):
    """The windows that the challenger was trained and judged on and compared over."""

    training: Rows
    gate: Rows
    reference: Rows
    overlap: Verdict | None
    label: Labels


class Input(Span):
    """A revision of rows or labels that training or judging read."""

    dataset: str
    revision: int
    sha256: str
    rows: int
    quarantined: str | None = Field(default=None, alias="held")  # digest of the rows that were in quarantine

    def __str__(self) -> str:
        return f"{self.dataset} {self.window} r{self.revision}"


class ValidatedBatch(Span):
    """How a batch that was read had been validated."""

    revision: int
    status: str
    quarantined: int
    digest: str


class Validation(Part):
    """How all batches that were read had been validated."""

    digest: str
    batches: tuple[ValidatedBatch, ...]


class Search(Part):
    """The search for a recipe."""

    seconds: float = 0.0


class Slice(Part):
    """Mean losses in one slice of the gate rows; one with too few rows has no bounds."""

    slice: str
    rows: int
    low: float | None
    high: float | None
    confidence: float
    challenger: float
    champion: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


class Ablated(Part):
    """The loss without a group of features."""

    group: str
    features: tuple[str, ...]
    with_group: float | None = Field(alias="with")
    without: float | None
    difference: float | None
    low: float | None
    high: float | None
    confidence: float
    fitted_on: int
    answer: str
    ms: float | None = None  # to compute the group's features for 1,000 rows


class Evaluated(Part):
    """The figures of the judgement on the gate rows, and the rows behind them."""

    loss: str
    rows: int
    path: str
    digest: str | None
    sample_path: str
    sample_digest: str | None
    predicted: tuple[str, ...]  # roles
    classes: list[str] | None
    feature_schema: FeatureSchema = Field(alias="schema")
    metrics: dict[str, dict[str, float | None]]  # by role
    intervals: tuple[Metric, ...]
    skill: Skill | None
    slices: tuple[Slice, ...] = ()
    ablation: tuple[Ablated, ...] = ()

    @property
    def names(self) -> list[str]:
        """The metrics, the deciding loss first: canonical JSON sorts the names of the others."""
        return [m.name for m in self.intervals] or list(self.metrics.get("challenger", {}))


class Cutoff(Part):
    """An earlier fold: where its rows begin, and the end of what its fit learned."""

    start: datetime
    trained_until: datetime


class EvidenceRecord(Part):
    """The rows and earlier attempts that counted, the champion that was compared, and what had to be proved."""

    against: str | None
    loss: str
    path: str
    digest: str | None
    block: float  # seconds
    start: datetime
    end: datetime
    rows: int
    folds: tuple[Cutoff, ...]
    earlier: tuple[str, ...]
    attempt: int
    burden: str
    changed: tuple[str, ...]
    contender: str
    missing: str


class Approval(Part):
    """The terms of a pending entry, and how it was closed."""

    expected_epoch: int
    expires_after_seconds: float
    run_id: str
    pending: int | None = None  # the entry that this one closes
    closed: str | None = None


class FourEyes(Part):
    """Whether the person who decided is another than the one who asked."""

    demanded: bool
    asked_by: str | None
    differ: bool | None


class Approver(Part):
    """The person who decided, why, when and from where."""

    name: str
    why: str
    decided_at: datetime
    account: str
    via: str
    flow_run: str | None
    four_eyes: FourEyes | None


class RolloutState(Part):
    """A state of a rollout. Change 0 is its start; each later entry has the number after that of the one before."""

    change: int
    start: int | None  # the entry of the start; null in that entry
    version: int
    expected_epoch: int  # of the champion beside which it is tried
    step: int  # 0 is the shadow, then the steps of the canary
    paused: bool
    rules: Plain  # `promote.rollout` when it began
    verdicts: tuple[Verdict, ...] = ()  # about the traffic so far
    ended: str | None = None  # promoted, rolled_back, aborted, inconclusive or stale


class ConfirmedBatch(Span):
    """An unusual batch that a person confirmed."""

    revision: int
    columns: tuple[str, ...]


class Record(Part):
    """The body of an entry. The long lists `inputs` and `validation` stay as they are read; see `Challenge`."""

    outcome: str = ""
    reasons: tuple[str, ...] = ()
    trigger: Trigger | None = None
    verdicts: tuple[Verdict, ...] = ()
    previous: Serving | None = None
    epoch: Epochs | None = None
    # The actor, and the rules and the code in force.
    actor: Actor | None = None
    config_digest: str = ""
    policy_digest: str = ""
    code: dict[str, str | int] = {}
    governance: Governance = Governance()
    retention: dict[str, str] = {}
    # How a challenger was made and judged.
    model: Fitted | None = None  # that serves, or would
    judged: Made | None = None  # the same, or the one that `model` is a refit of
    refit: Verdict | None = None
    gate: Window | None = None
    attempt: str | None = None
    data: Data | None = None
    search: Search | None = None
    evaluation: Evaluated | None = None
    evidence: EvidenceRecord | None = None
    export: ExportRecord | None = None
    recorded: Recorded = {}
    received: Elsewhere | None = None  # where the model was trained, if another home sent it
    receipt: Elsewhere | None = None  # what another home decided about the model, which this one sent
    # Decisions by people.
    approval: Approval | None = None
    approver: Approver | None = None
    rollout: RolloutState | None = None
    evidence_of: int | None = None  # the entry that the parts about the challenger come from
    probation: ProbationLook | None = None
    rule: str | None = None  # that refused a retrain
    by: str | None = None  # who cleared or confirmed
    batches: tuple[ConfirmedBatch, ...] = ()
    promotion: Serving | None = None

    def __or__(self, other: Record) -> Self:
        """The parts of both; `other` decides about those that both have."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})

    @property
    def checks(self) -> tuple[Verdict, ...]:
        """All verdicts: of the gates, of the refit, and of ONNX forms."""
        refit = (self.refit,) if self.refit else ()
        return (*self.verdicts, *refit, *(self.export.informing if self.export else ()))

    @property
    def form(self) -> FormRecord | None:
        """The ONNX form of the version that the entry is about; None if no form was checked."""
        if self.export is None:
            return None
        refitted = self.model and self.judged and self.model.version != self.judged.version
        return self.export.refit if refitted else self.export.judged

    @property
    def version(self) -> int | None:
        """The version that the entry is about."""
        if self.model is None:
            return self.rollout.version if self.rollout else None
        return self.model.version

    @property
    def reason(self) -> str | None:
        """The reason of the retrain."""
        return self.trigger.reason if self.trigger else None


class Challenge(Record):
    """The body of an entry about a challenger that was trained and judged, which has all of these parts."""

    trigger: Trigger
    epoch: Epochs
    actor: Actor
    model: Fitted
    judged: Made
    gate: Window
    inputs: tuple[Input, ...]
    data: Data
    validation: Validation
    evaluation: Evaluated
