"""The gates of the section `promote`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from trueup.config.section import Section, Share


class PairedGate(Section):
    """Better than the champion by a minimum and beyond noise; after a change besides not worse beyond a margin."""

    kind: Literal["paired"]
    metric: Literal["loss", "brier", "auc", "accuracy", "auc_ovr", "mae"] = Field(
        "loss",
        description="What is compared. `loss`: log-loss, or squared error of a regression, on all rows that count (see `promote.folds`). Others on the gate window only: binary also `brier`, `auc`; multiclass `brier`, `accuracy`, `auc_ovr`; regression `mae`. Of `auc`, `auc_ovr` and `accuracy` it is what they lack to 1, so that less is better.",
    )
    min_gain: Share = Field(
        0.001, description="The challenger's mean loss must be lower by this share of the champion's."
    )
    confidence: float = Field(
        0.5,
        ge=0.5,
        lt=1,
        description="One-sided confidence that it is lower at all, for the first attempt against a champion; 0.5: the mean alone decides. The k-th attempt has the error of the first divided by the square root of k.",
    )
    margin: Share = Field(
        0.05,
        description="After a change of family, features, `train`, label or code: the upper bound of the difference (`evaluate.confidence`) must be below this share of the champion's loss.",
    )


class BaselineGate(Section):
    """Better than a prior and a simple model."""

    kind: Literal["baseline"]
    beat: list[Literal["prior", "simple"]] = ["prior", "simple"]


class AbsoluteGate(Section):
    """A bound on one metric of the challenger alone."""

    kind: Literal["absolute"]
    metric: str
    at_most: float | None = None
    at_least: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> AbsoluteGate:
        if self.at_most is None and self.at_least is None:
            raise ValueError("give at_most or at_least")
        return self


class SliceGate(Section):
    """No slice is harmed."""

    kind: Literal["slices"]
    margin: Share = Field(
        0.02,
        description="A slice fails when the Holm-adjusted lower bound of its loss difference is above this share of the champion's loss there.",
    )
    required: list[str] = Field(default=[], description="`column=value` slices that must be large enough to tell.")


class MarginGate(Section):
    """What gates with a margin and an interval share: fail when the interval lies above the margin, pass when below."""

    margin: float = Field(ge=0, description="Fails when the lower bound is above it, passes when the upper is below.")
    against: Literal["nothing", "champion"] = Field(
        "nothing",
        description="`nothing`: the figure itself is at most `margin`. `champion`: it is above the champion's by at most `margin`; a first champion passes.",
    )
    when_unclear: Literal["hold", "pass"] = Field(
        "hold",
        description="What happens when the interval holds the margin, or there is too little to tell. `pass` lets only a proved violation block.",
    )


class FairnessGate(MarginGate):
    """No two groups are treated further apart than a margin."""

    kind: Literal["fairness"]
    columns: list[str] = Field(
        min_length=1,
        description="Columns whose values are the groups, each column on its own. They are landed and need not be features.",
    )
    metric: Literal[
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "equalized_odds",
        "mean_error",
        "mean_absolute_error",
        "loss",
    ] = Field(
        description="What is compared. Binary: the first four at `threshold`, `mean_error` (prediction less outcome), `loss`. Multiclass: `loss`. Regression: the last three."
    )
    threshold: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="For a binary task: from this probability on a row is selected. Default: 0.5.",
    )
    required: list[str] = Field(
        default=[], description="`column=value` groups that must be large enough (`evaluate.min_slice_rows`) to tell."
    )


class CalibrationGate(MarginGate):
    """Predictions mean what they say."""

    kind: Literal["calibration"]
    metric: Literal["ece", "bias"] | None = Field(
        None,
        description="`ece`: mean distance of predicted and observed shares over ten bins of equal rows, corrected for its upward bias (binary, multiclass). `bias`: distance of mean prediction and mean outcome (of a multiclass task the largest of its classes), in the label's unit. Default: `ece`, for a regression `bias`.",
    )


class InvarianceCheck(Section):
    """Changing a column must not move the prediction."""

    kind: Literal["invariance"]
    column: str = Field(description="The landed column that is changed.")
    to: list[str | int | float | bool] = Field(
        default=[], description="Every row gets each of these values in turn; the largest move counts."
    )
    shift: float | None = Field(None, description="This is added to the column's numbers.")
    shuffle: bool = Field(False, description="Values are dealt anew among the rows, by `train.seed`.")
    at_most: float = Field(
        gt=0,
        description="A move of the prediction by more than this is a violation: a probability (multiclass: half the sum of all changes), or the label's unit.",
    )
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")

    @model_validator(mode="after")
    def _one_change(self) -> InvarianceCheck:
        if [bool(self.to), self.shift is not None, self.shuffle].count(True) != 1:
            raise ValueError("say how the column is changed: exactly one of `to`, `shift` and `shuffle`")
        if self.shift == 0:
            raise ValueError("a shift of 0 changes nothing; give another number")
        return self


class DirectionCheck(Section):
    """Raising a number must not lower the prediction, or not raise it."""

    kind: Literal["direction"]
    column: str = Field(description="The landed numeric column that is raised.")
    raise_by: float = Field(gt=0, description="This is added to the column's numbers.")
    never: Literal["lower", "higher"] = Field(description="Where the prediction must not go.")
    tolerance: float = Field(0.0, ge=0, description="A move in that direction by at most this is none.")
    share: Share = Field(0.0, description="Share of the changed rows that may violate the check.")


BehaviourCheck = Annotated[InvarianceCheck | DirectionCheck, Field(discriminator="kind")]


class BehaviourGate(Section):
    """The challenger answers changed inputs as declared, on the gate rows."""

    kind: Literal["behaviour"]
    checks: list[BehaviourCheck] = Field(
        min_length=1,
        description="History features stay as they were; all other features are made anew of the changed rows.",
    )


class BudgetGate(Section):
    """The model's files are small and its answers quick enough, measured in a process that has only loaded the model."""

    kind: Literal["budget"]
    max_mib: float | None = Field(None, gt=0, description="Size of all files of the registered model.")
    max_ms: float | None = Field(
        None, gt=0, description="Milliseconds for `batch` rows: the 95th percentile of `repeats` calls."
    )
    batch: int = Field(1_000, ge=1, le=100_000)
    repeats: int = Field(30, ge=20, le=10_000)

    @model_validator(mode="after")
    def _limited(self) -> BudgetGate:
        if self.max_mib is None and self.max_ms is None:
            raise ValueError("give max_mib or max_ms")
        return self


GateConfig = Annotated[
    PairedGate | BaselineGate | AbsoluteGate | SliceGate | FairnessGate | CalibrationGate | BehaviourGate | BudgetGate,
    Field(discriminator="kind"),
]
