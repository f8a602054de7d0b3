"""The section `promote`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, SerializeAsAny, field_validator

from trueup.config.durations import Span
from trueup.config.section import Section
from trueup.config.sections.gates import GateConfig


class ApprovalConfig(Section):
    """How a person decides on a challenger that passed its gates."""

    expires_after: Span = Field(
        timedelta(days=3), description="Wall time until the approval expires: the champion stays, and that is recorded."
    )
    four_eyes: bool = Field(
        False,
        description="The person who approves must not be the one who requested the retrain, and an override needs two persons. A retrain after a diagnosis or by a schedule has no requester. A rollback needs only one person, because it must be quick.",
    )


class ProbationConfig(Section):
    """The replaced champion predicts along for some batches, and returns if the new one loses to it."""

    batches: int = Field(
        0,
        ge=0,
        description="Batches after a promotion in which the old champion predicts in shadow, with one look per batch; 0: off.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Probability of taking back a champion that is as good as the old one, shared equally among the looks.",
    )


class ShadowStep(Section):
    """The first step of a rollout: the challenger predicts rows beside the champion, and none of its answers is given."""

    rows: int = Field(500, ge=1, description="Rows that the challenger has to predict before the canary begins.")
    sample: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the rows that the challenger predicts in shadow, in this step and beside a canary.",
    )


class CanaryStep(Section):
    """A step of a rollout in which the challenger answers a share of the keys."""

    share: float = Field(gt=0, le=1, description="Share of the keys that the challenger answers.")
    rows: int = Field(ge=1, description="Rows that the challenger has to answer before the next step.")


class RolloutLimits(Section):
    """What a challenger may do; beyond a limit, shown with statistical significance, it is rolled back."""

    errors: float = Field(
        0.01,
        gt=0,
        lt=0.5,
        description="Share of rows for which the challenger raises an error or answers too late.",
    )
    non_finite: float = Field(
        0.001, gt=0, lt=0.5, description="Share of rows for which the challenger's prediction is NaN or infinite."
    )
    latency_ratio: float = Field(
        3,
        gt=1,
        description="How many times as long as the champion the challenger may take for half of the rows or more.",
    )
    shift: float = Field(
        0.25,
        gt=0,
        description="Difference between the mean predictions of both versions on the same rows, in standard deviations of the champion's predictions (for its gate rows or for the requests, whichever are larger).",
    )
    loss_alpha: float = Field(
        0.02,
        gt=0,
        lt=0.5,
        description="Probability of rolling back a challenger that is as good as the champion because of its loss on matured labels, over all looks together.",
    )


class RolloutConfig(Section):
    """How a challenger that passed meets the traffic of `trueup serve`: in shadow, then as a canary, then as champion."""

    shadow: ShadowStep = ShadowStep()
    canary: list[CanaryStep] = Field(
        default=[CanaryStep(share=0.05, rows=300), CanaryStep(share=0.25, rows=1000)],
        description="The canary's steps, in order of growing shares. `[]`: the challenger becomes the champion after the shadow.",
    )
    deadline: Span = Field(
        timedelta(days=7),
        description="Wall time for the whole rollout. If it has not ended by then, it ends as inconclusive, and the champion stays.",
    )
    timeout_ms: float = Field(
        1000, gt=0, description="Time that the challenger has for a request as a canary; then the champion answers it."
    )
    limits: RolloutLimits = RolloutLimits()
    labels: int = Field(
        0,
        ge=0,
        description="Rows with matured labels, predicted by both versions, that are needed before the challenger becomes the champion.",
    )

    @field_validator("canary")
    @classmethod
    def _growing(cls, steps: list[CanaryStep]) -> list[CanaryStep]:
        shares = [step.share for step in steps]
        if shares != sorted(set(shares)):
            raise ValueError("the shares must grow from step to step, so that no key goes back to the champion")
        return steps


class PromoteConfig(Section):
    """When a challenger becomes the champion."""

    gate_window: Span = Field(
        timedelta(days=14), description="Span of the newest matured labels on which both models are judged."
    )
    folds: int = Field(
        4,
        ge=1,
        le=50,
        description="Number of cut-offs at which the challenger's recipe is fitted and judged on the gate window that follows, from the newest label back to the end of the champion's training. Older rows count if earlier attempts against the same champion judged them.",
    )
    recency: float = Field(
        0.7,
        gt=0,
        le=1,
        description="Weight of a row in the paired comparison relative to a row that is one gate window newer; 1: all rows count the same.",
    )
    min_new_days: float = Field(
        20,
        gt=0,
        le=36_525,
        description="Days of matured labels that the champion has not seen. With fewer the decision is held. The gate window is at most half of them.",
    )
    refit: bool = Field(True, description="Fit the accepted recipe again with the gate window included.")
    max_refit_shift: float = Field(
        0.5,
        gt=0,
        description="Limit for the mean absolute change of predictions between judged and refitted model, as a share of the judged predictions' spread.",
    )
    gates: list[SerializeAsAny[GateConfig]] = Field(
        default=[{"kind": "paired"}, {"kind": "baseline"}, {"kind": "slices"}],
        validate_default=True,
        description="The gates; all must pass. `[]`: after the first champion, every challenger is promoted that is comparable and differs from the champion.",
    )
    mode: Literal["auto", "approval"] = Field(
        "auto", description="With `approval` a challenger that passed waits for `trueup approve` or `trueup reject`."
    )
    across: Literal["code", "bundle"] = Field(
        "code",
        description="How a model comes into an environment. `code`: it is trained there. `bundle`: `trueup receive` also accepts one that another environment trained and signed; see docs/how-to/environments.md.",
    )
    approval: ApprovalConfig = ApprovalConfig()
    probation: ProbationConfig = ProbationConfig()
    rollout: RolloutConfig | None = Field(
        None,
        description="`{}` lets a challenger that passed meet online traffic step by step before it becomes the champion; it needs `serve`. Default: off, it becomes the champion at once.",
    )
