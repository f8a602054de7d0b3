"""The kinds of prediction tasks, and the metrics of each."""

from __future__ import annotations

from enum import StrEnum


class Task(StrEnum):
    """The kind of value that the model predicts."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


# Metrics of `trueup.domain.judging.metrics`, by task; the first one decides.
METRICS = {
    Task.BINARY: ("log_loss", "brier", "auc", "average_precision", "ece"),
    Task.MULTICLASS: ("log_loss", "brier", "accuracy", "auc_ovr"),
    Task.REGRESSION: ("mse", "mae", "rmse", "r2"),
}
