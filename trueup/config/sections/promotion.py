"""The section `promote`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, SerializeAsAny

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
    approval: ApprovalConfig = ApprovalConfig()
    probation: ProbationConfig = ProbationConfig()
