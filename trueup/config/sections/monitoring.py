"""The section `monitor`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from trueup.config.durations import CalendarSpan, Span
from trueup.config.section import Section, Share


class DriftConfig(Section):
    """When inputs count as shifted.

    A batch is compared with rows of the champion's training window: of the same phase of the season where there are
    enough, the same weekday for days, the same month once there are two years. A limit is wider than it says here where
    samples of that size, or a column's own movement from batch to batch within the training window, exceed it.
    """

    sample: int = Field(
        5_000, ge=100, description="Rows compared on each side, so that the verdict does not depend on volume."
    )
    share: Share = Field(
        0.3,
        description="Inputs count as shifted when at least this share of the columns has drifted in distribution; or, whatever the share, when a single column shows what no season brings: `missing_growth`, `new_categories`, or infinite values where there were none.",
    )
    numeric_threshold: float = Field(0.1, gt=0, description="PSI from which a numeric column has drifted.")
    categorical_threshold: float = Field(
        0.1, gt=0, description="Jensen-Shannon distance from which a categorical column has drifted."
    )
    missing_growth: Share = Field(
        0.2, description="A column has drifted when its share of missing values moved by this much."
    )
    new_categories: Share = Field(
        0.05, description="A column has drifted when this share of rows has categories that training never saw."
    )


class DecayConfig(Section):
    """When a champion counts as decayed."""

    batches: int = Field(2, ge=1, description="N: bad batches needed ...")
    of_last: int = Field(3, ge=1, description="... among the last M since the promotion.")
    min_drop: Share = Field(
        0.01,
        description="A batch is bad when the lower bound of its drop in paired skill is above this share of the reference's loss. For a champion worse than chance the drop is that of its lead over the best constant, if larger.",
    )
    severe: Share = Field(0.1, description="Decayed at once when that lower bound is above this share.")
    reference_window: Span = Field(
        timedelta(days=56), description="The cheap reference is refitted each batch on this much history."
    )

    @model_validator(mode="after")
    def _n_of_m(self) -> DecayConfig:
        if self.batches > self.of_last:
            raise ValueError("batches (N) is at most of_last (M)")
        return self


class MonitorConfig(Section):
    """How the champion is watched."""

    min_matured: int = Field(200, ge=30, description="Matured labels a batch needs to be diagnosed.")
    settle: int = Field(
        3,
        ge=1,
        description="Batches, from an unusual one on, until a retrain on such rows starts by itself, or at once after `trueup clear`; what is unusual in so many batches one after the other becomes the usual. 1: unusual batches only alert.",
    )
    stale_after: CalendarSpan | None = Field(
        None,
        description="A champion whose training data end this long before as_of is stale and is retrained; default: never.",
    )
    drift: DriftConfig = DriftConfig()
    decay: DecayConfig = DecayConfig()
