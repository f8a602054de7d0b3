"""The sections `train`, `evaluate` and `register`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trueup.config.durations import Calendar, Duration, Span, span_or_expanding
from trueup.config.section import Section

Family = Literal["gradient_boosting", "linear", "forest"]


class TrainConfig(Section):
    """How a challenger is made."""

    window: Annotated[Calendar | Literal["expanding"], BeforeValidator(span_or_expanding)] = Field(
        "expanding",
        description="`expanding` uses all history, a span the trailing part of it; `3 months` are calendar months.",
    )
    half_life: Span | None = Field(
        None,
        description="A row this much older than the newest counts half as much when a challenger is fitted, twice as much older a quarter. Default: all rows count alike.",
    )
    min_history: Duration = Field(timedelta(days=28), description="The first champion waits for this much history.")
    min_rows: int = Field(200, ge=30, description="Fewer matured rows are not trained on.")
    families: list[Family] = Field(
        default=["gradient_boosting", "linear", "forest"],
        min_length=1,
        description="Model families the search may choose from.",
    )
    parameters: dict[Family, dict[str, Any]] = Field(
        default={}, description="Per family, fixed parameters that the search leaves alone."
    )
    trials: int = Field(
        12, ge=1, description="Budget of the search. The champion's own recipe is always the first trial."
    )
    folds: int = Field(2, ge=1, description="Time-ordered folds: each is judged on what came after it.")
    search_rows: int | None = Field(
        50_000, ge=100, description="The search uses at most this many of the newest rows; the fit uses all."
    )
    max_seconds: float = Field(
        900,
        gt=0,
        description="Only a ceiling for the search; hitting it is recorded, for the result then depends on the machine.",
    )
    seed: int = 0


class AblationConfig(Section):
    """Whether each group of features earns its place: the recipe fitted again without it. It informs and never blocks."""

    groups: dict[str, list[str]] = Field(
        default={},
        description="Per name the features of a group, by patterns such as `precip*`. Default: the numeric, the categorical, the calendar and the custom features, and for each history its keys one by one.",
    )
    rows: int | None = Field(
        None,
        ge=100,
        description="Only this many of the newest training rows are fitted on, with and without each group; default: all.",
    )


class EvaluateConfig(Section):
    """How models are judged and described."""

    confidence: float = Field(0.95, gt=0.5, lt=1)
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples.")
    block: Span = Field(
        timedelta(days=1),
        description="Rows of the same block are resampled together; blocks grow when their differences are autocorrelated. A batch (`ingest.period`), `promote.gate_window` and half of the new labels of a retrain (`promote.min_new_days`) must each hold ten of them.",
    )
    slices: list[str] = Field(default=[], description="Columns whose values are judged on their own.")
    min_slice_rows: int = Field(200, ge=1, description="Smaller slices are listed as too small to tell.")
    ablation: AblationConfig | None = Field(
        None, description="`{}` fits the recipe once more for each group of features, without it; default: off."
    )


class RegisterConfig(Section):
    """Where the model is registered, and what stands beside it."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Name in MLflow's registry; default: the model's name.",
    )
    tags: dict[str, str] = {}
