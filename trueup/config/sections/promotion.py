"""The section `promote`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, SerializeAsAny

from trueup.config.durations import Span
from trueup.config.section import Section
from trueup.config.sections.gates import GateConfig


class ApprovalConfig(Section):
    """How long a challenger that passed waits for a person."""

    expires_after: Span = Field(
        timedelta(days=3), description="In wall time; then the champion stays, and that is recorded."
    )
    four_eyes: bool = Field(
        False,
        description="Who approves must be another than who asked for the retrain, and who overrides another than who "
        "asked for that. A retrain that a diagnosis or a schedule asked for has nobody of its own; a rollback needs one "
        "person only, for it must be quick.",
    )


class ProbationConfig(Section):
    """The old champion goes on beside a new one for some batches, and comes back if the new one loses to it."""

    batches: int = Field(
        0,
        ge=0,
        description="Batches after a promotion that the old champion scores in shadow, and looks at them; 0: off.",
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description="Chance to take back a champion that is as good as the old one; each look has its equal part.",
    )


class PromoteConfig(Section):
    """When a challenger becomes the champion."""

    gate_window: Span = Field(
        timedelta(days=14), description="Span of the newest matured labels on which both are judged."
    )
    folds: int = Field(
        4,
        ge=1,
        le=50,
        description="At how many cut-offs the challenger's recipe is fitted and judged on the gate window that follows, going back from the newest label to the end of the champion's training. Older rows count as earlier attempts against the same champion judged them.",
    )
    recency: float = Field(
        0.7,
        gt=0,
        le=1,
        description="What a row counts in the paired comparison, as a share of what a row counts that is one gate window newer; 1: all rows count the same.",
    )
    min_new_days: float = Field(
        20,
        gt=0,
        le=36_525,
        description="Days of matured labels that the champion has not seen; fewer hold the decision. The gate window is at most half of them.",
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
        description="All must pass. `[]`: after the first champion every challenger takes office that is sound to compare and not the same as the champion.",
    )
    mode: Literal["auto", "approval"] = Field(
        "auto", description="With `approval` a challenger that passed waits for `trueup approve` or `trueup reject`."
    )
    approval: ApprovalConfig = ApprovalConfig()
    probation: ProbationConfig = ProbationConfig()
