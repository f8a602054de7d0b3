"""The sections `train`, `evaluate` and `register`."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trueup.config.durations import Calendar, Duration, Span, span_or_expanding
from trueup.config.section import Section

Family = Literal["gradient_boosting", "linear", "forest", "lightgbm"]


Parameters = dict[str, Any]  # of an estimator


class TrainConfig(Section):
    """How a challenger is trained."""

    window: Annotated[Calendar | Literal["expanding"], BeforeValidator(span_or_expanding)] = Field(
        "expanding",
        description="`expanding` uses all history, a span only the newest part of it; `3 months` are calendar months.",
    )
    half_life: Span | None = Field(
        None,
        description="In the fit, a row this much older than the newest counts half, a row twice as much older a quarter. Default: all rows count the same.",
    )
    min_history: Duration = Field(timedelta(days=28), description="The first champion waits for this much history.")
    min_rows: int = Field(200, ge=30, description="No training starts on fewer matured rows.")
    families: list[Family] = Field(
        default=["gradient_boosting", "linear", "forest"],
        min_length=1,
        description="Model families that the search may choose from. `lightgbm` needs the extra `trueup[lightgbm]` and far less memory on large tables.",
    )
    parameters: dict[Family, Parameters] = Field(
        default={}, description="Fixed parameters per family, which the search does not change."
    )
    trials: int = Field(
        12, ge=1, description="Number of trials of the search. The champion's own recipe is always the first trial."
    )
    trials_at_once: int = Field(
        1,
        ge=1,
        description="Trials that are chosen together, before the result of any of them is known. On a Dask cluster (`TRUEUP_DASK`) they run at the same time. The result depends on this number, and not on where they run.",
    )
    folds: int = Field(
        2, ge=1, description="Time-ordered folds of the search. Each fold is judged on the rows that follow it."
    )
    search_rows: int | None = Field(
        50_000, ge=100, description="The search uses at most this many of the newest rows. The fit uses all."
    )
    dask_workers: int | None = Field(
        None,
        ge=2,
        description="Fit the family `lightgbm` by `lightgbm.dask` on this many workers of the cluster `TRUEUP_DASK`, for tables that no single machine can hold. The model depends on the number, so recipes record it. Default: one process.",
    )
    max_seconds: float = Field(
        900,
        gt=0,
        description="A time limit for the search. Reaching it is recorded, because the result then depends on the machine.",
    )
    seed: int = Field(0, description="Seed of the random choices of search and fits.")


class AblationConfig(Section):
    """Measures gain and cost of each group of features. It informs; the gate `features` judges."""

    groups: dict[str, list[str]] = Field(
        default={},
        description="Groups of features by name, as patterns such as `precip*`. Default: numeric, categorical, calendar and custom features, and each key of each history feature.",
    )
    rows: int | None = Field(
        None,
        ge=100,
        description="Fit on only this many of the newest training rows, with and without each group; default: all.",
    )


class EvaluateConfig(Section):
    """How models are judged and described."""

    confidence: float = Field(0.95, gt=0.5, lt=1, description="Confidence level of intervals.")
    resamples: int = Field(2000, ge=200, description="Bootstrap resamples.")
    block: Span = Field(
        timedelta(days=1),
        description="Rows of the same block are resampled together. Blocks are joined if their differences are autocorrelated. A batch (`ingest.period`), `promote.gate_window` and half of the new labels of a retrain (`promote.min_new_days`) must each contain ten blocks.",
    )
    slices: list[str] = Field(default=[], description="Columns with values that are judged separately.")
    min_slice_rows: int = Field(200, ge=1, description="Smaller slices are listed as too small to judge.")
    ablation: AblationConfig | None = Field(
        None, description="`{}` fits the recipe once more without each group of features; default: off."
    )


class RegisterConfig(Section):
    """The model's name and tags in MLflow's registry."""

    name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$",
        description="Name in MLflow's registry; default: the model's name.",
    )
    tags: dict[str, str] = Field(default={}, description="Further tags of the registered versions.")
