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
