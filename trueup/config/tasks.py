"""What kinds of values a model predicts, and what is measured of each."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """What kind of value the model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


# What `trueup.domain.judging.metrics` measures of a model; the first one decides.
METRICS = {
    Task.BINARY: ("log_loss", "brier", "auc", "average_precision", "ece"),
    Task.MULTICLASS: ("log_loss", "brier", "accuracy", "auc_ovr"),
    Task.REGRESSION: ("mse", "mae", "rmse", "r2"),
}

# What the paired gate compares, by task; the first one is the default.
PAIRED = {
    Task.BINARY: ("loss", "brier", "auc"),
    Task.MULTICLASS: ("loss", "brier", "accuracy", "auc_ovr"),
    Task.REGRESSION: ("loss", "mae"),
}
# What the fairness gate compares between groups, by task.
FAIRNESS = {
    Task.BINARY: (
        "selection_rate",
        "true_positive_rate",
        "false_positive_rate",
        "equalized_odds",
        "mean_error",
        "loss",
    ),
    Task.MULTICLASS: ("loss",),
    Task.REGRESSION: ("mean_error", "mean_absolute_error", "loss"),
}
# What the calibration gate bounds, by task; the first one is the default.
CALIBRATION = {
    Task.BINARY: ("ece", "bias"),
    Task.MULTICLASS: ("ece", "bias"),
    Task.REGRESSION: ("bias",),
}
