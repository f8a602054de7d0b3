"""The section `monitor`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from trueup.config.durations import CalendarSpan, Span
from trueup.config.section import Section, Share


class DriftConfig(Section):
    """When inputs count as shifted.

    A batch is compared with rows of the champion's training window, if possible of the same phase of the season: the
    same weekday for daily batches, the same month once there are two years. A limit is raised if samples of that size,
    or a column's movement from batch to batch within the training window, exceed it.
    """

    sample: int = Field(
        5_000, ge=100, description="Rows compared on each side, so that the verdict does not depend on volume."
    )
    share: Share = Field(
        0.3,
        description="Inputs count as shifted if at least this share of the columns has drifted in distribution. A single column is enough if its change has no seasonal explanation: `missing_growth`, `new_categories`, or infinite values for the first time.",
    )
    numeric_threshold: float = Field(0.1, gt=0, description="PSI from which a numeric column has drifted.")
    categorical_threshold: float = Field(
        0.1, gt=0, description="Jensen-Shannon distance from which a categorical column has drifted."
    )
    missing_growth: Share = Field(
        0.2, description="A column has drifted if its share of missing values changed by this much."
    )
    new_categories: Share = Field(
        0.05,
        description="A column has drifted if this share of rows has categories that were not in the training rows.",
    )


class DecayConfig(Section):
    """When a champion counts as decayed."""

    batches: int = Field(2, ge=1, description="N: bad batches needed ...")
    of_last: int = Field(3, ge=1, description="... among the last M since the promotion.")
    min_drop: Share = Field(
        0.01,
        description="A batch is bad if the lower bound of its drop in paired skill is above this share of the reference's loss. For a champion worse than chance, the drop of its lead over the best constant counts if that is larger.",
    )
    severe: Share = Field(0.1, description="Decayed after one batch if that lower bound is above this share.")
    reference_window: Span = Field(
        timedelta(days=56), description="The cheap reference is refitted for each batch on this much history."
    )

    @model_validator(mode="after")
    def _n_of_m(self) -> DecayConfig:
        if self.batches > self.of_last:
            raise ValueError("batches (N) must be at most of_last (M)")
        return self


class EstimateConfig(Section):
    """Whether performance is estimated before labels come, and from when on an estimate alerts.

    Every scored batch gets an estimate from the champion's predictions and the rows that judged it. It informs: a
    finding `estimated_decay` alerts, and starts no retrain.
    """

    enabled: bool = Field(True, description="Whether to estimate the performance on each batch.")
    min_change: Share = Field(
        0.02,
        description="The smallest rise of the expected loss since the gate that is worth an alarm: as a share of the best constant's log-loss, or of the gate's squared error for a regression. Noise raises the limit further.",
    )


class MonitorConfig(Section):
    """How the champion is monitored."""

    min_matured: int = Field(200, ge=30, description="The number of matured labels that a batch needs for a diagnosis.")
    settle: int = Field(
        3,
        ge=1,
        description="After this many batches, counted from an unusual one, a retrain on such rows starts by itself, or at once after `trueup clear`. What is unusual in this many consecutive batches becomes usual. 1: unusual batches only alert.",
    )
    stale_after: CalendarSpan | None = Field(
        None,
        description="A champion is stale, and is retrained, if its training data ends this long before as_of. Default: never.",
    )
    drift: DriftConfig = DriftConfig()
    decay: DecayConfig = DecayConfig()
    estimate: EstimateConfig = EstimateConfig()
