"""Checks that run before all gates in any configuration, because verdicts on broken data would mislead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import Floats
from trueup.domain.judging.gates.context import CHALLENGER, CHAMPION, Case
from trueup.domain.judging.metrics import figure, loss_name
from trueup.domain.types import Figures, Verdict

MIN_ROWS = 30


def no_overlap(case: Case) -> Verdict:
    """Fail if a judged model was trained on rows of the gate window."""
    name = "overlap"
    if unknown := [role for role in case.judged if role not in case.trained_until]:
        return Verdict.inconclusive(name, f"it is not known until when the {' and the '.join(unknown)} was trained")
    if not len(case.event_time):
        return Verdict.inconclusive(name, "there are no rows to judge on")
    moments = np.asarray(case.event_time, dtype="datetime64[us]")
    figures: Figures = {"rows_from": str(moments.min())}
    reasons = []
    for role in case.judged:
        until = case.trained_until[role]
        shared = int((moments < np.datetime64(until, "us")).sum())
        figures[f"{role}_trained_until"], figures[f"{role}_shared_rows"] = until.isoformat(), shared
        if shared:
            reasons.append(
                f"{shared:,} of {len(moments):,} gate rows are from before {until:%Y-%m-%d %H:%M}, when the training of the {role} ends"
            )
    reasons += [
        f"what was fitted for the rows from {start:%Y-%m-%d %H:%M} on was trained until {until:%Y-%m-%d %H:%M}"
        for start, until in case.folds
        if until > start
    ]
    if case.folds and case.has_champion and min(start for start, _ in case.folds) < case.trained_until[CHAMPION]:
        reasons.append("rows of an earlier fold are from before the end of the champion's training")
    if reasons:
        return Verdict.failed(name, *reasons, **figures)
    return Verdict.passed(name, "no judged model was trained on the rows that it is judged on", **figures)


def enough_rows(case: Case) -> Verdict:
    """Inconclusive for fewer rows than `MIN_ROWS`, or if all labels are the same."""
    name, rows = "rows", len(case.y)
    if rows < MIN_ROWS:
        return Verdict.inconclusive(
            name, f"{rows} rows are too few to judge on; at least {MIN_ROWS} are needed", rows=rows
        )
    counts = pd.Series(case.y).value_counts()
    if len(counts) == 1:
        reason = f"all {rows:,} labels are {counts.index[0]}: models cannot be distinguished"
        return Verdict.inconclusive(name, reason, rows=rows)
    if case.task is Task.REGRESSION:
        return Verdict.passed(name, f"{rows:,} rows", rows=rows)
    classes = {str(label): int(count) for label, count in counts.items()}
    return Verdict.passed(name, f"{rows:,} rows of {len(classes)} classes", rows=rows, classes=classes)


def all_finite(case: Case) -> Verdict:
    """Fail if a label, a prediction or a metric of the challenger is missing, NaN or infinite."""
    reasons = []
    if CHALLENGER not in case.predictions:
        reasons.append("there are no predictions of the challenger")
    if missing := int(pd.isna(case.y).sum()):
        reasons.append(f"{missing:,} labels are missing")
    for role, losses in case.losses.items():
        bad = ~np.isfinite(losses) | ~np.isfinite(_rowwise(case.predictions[role]))
        if bad.any():
            reasons.append(f"{int(bad.sum()):,} of {len(bad):,} predictions of the {role} are missing or infinite")
    decides = loss_name(case.task)
    if decides not in case.metrics:
        reasons.append(f"the challenger's {decides} is absent")
    reasons += [f"the challenger's {m} is {value}" for m, value in case.metrics.items() if not np.isfinite(value)]
    if reasons:
        return Verdict.failed("finite", *[f"rejected: {reason}" for reason in reasons])
    return Verdict.passed("finite", "all labels, predictions and metrics are finite numbers")


def not_identical(case: Case) -> Verdict:
    """Fail if the challenger's predictions are those of the champion."""
    name = "identical"
    if not case.has_champion:
        return Verdict.passed(name, case.without_champion)
    apart = np.abs(case.predictions[CHALLENGER] - case.predictions[CHAMPION])
    largest = float(apart.max())
    if largest <= 1e-9 * float(np.abs(case.predictions[CHAMPION]).max()):
        return Verdict.failed(
            name, "equal: the challenger's predictions are the champion's", largest_difference=largest
        )
    return Verdict.passed(name, f"predictions differ by up to {figure(largest, 3)}", largest_difference=largest)


def _rowwise(prediction: NDArray[Any]) -> Floats:
    """One number per row, finite only if all numbers of the row are."""
    values = np.asarray(prediction, dtype=np.float64)
    return values if values.ndim == 1 else np.asarray(values.sum(axis=1))
