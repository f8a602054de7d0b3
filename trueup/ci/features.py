"""What the features of a side know, and how those that only one side has have moved.

All of it is computed here from the sample of the base and from tables of features, so that no code of a head decides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import scipy

from trueup.ci.findings import FeatureChange
from trueup.ci.job import ROW
from trueup.config.sections.ingest import LabelConfig
from trueup.config.tasks import Task
from trueup.domain.judging.gates import Case
from trueup.domain.judging.metrics import metrics
from trueup.domain.profiling.columns import profile
from trueup.domain.profiling.leaks import TOO_GOOD, Suspect, suspects
from trueup.domain.types import EVENT_TIME, LABEL

_SCORE = {Task.BINARY: "auc", Task.MULTICLASS: "accuracy", Task.REGRESSION: "r2"}
_SCORE_WORDS = {"auc": "AUC", "accuracy": "accuracy", "r2": "R²"}


@dataclass(frozen=True, eq=False)
class Known:
    """What the base knows of a sample: raw rows, and labels as `sample.make_sample` writes them, by `ROW`."""

    raw: pd.DataFrame
    labels: pd.DataFrame
    time: str
    label: LabelConfig
    task: Task


@dataclass(frozen=True)
class Leaks:
    """Features that know the outcome, and those that predict it very well and may know it."""

    sure: tuple[Suspect, ...] = ()
    strong: tuple[Suspect, ...] = ()

    def and_(self, other: Leaks) -> Leaks:
        """Both together."""
        return Leaks((*self.sure, *other.sure), (*self.strong, *other.strong))

    def without(self, other: Leaks) -> Leaks:
        """Those that the other side does not have."""
        names = {s.column for s in (*other.sure, *other.strong)}
        sure = {s.column for s in other.sure}
        return Leaks(
            tuple(s for s in self.sure if s.column not in sure), tuple(s for s in self.strong if s.column not in names)
        )


def declared_leaks(known: Known, columns: Sequence[str]) -> Leaks:
    """The leaks among the source's columns that a side's config names for its features."""
    own = [] if known.label.source else [c for c in (known.label.column, known.label.known_at) if c is not None]
    sure = [Suspect(c, "it is the outcome, or tells when the outcome became known") for c in own if c in columns]
    named = [c for c in dict.fromkeys(columns) if c in known.raw and c not in {known.time, *own}]
    found = _leaks(known, known.raw[named])
    return Leaks((*sure, *found.sure), found.strong)


def computed_leaks(known: Known, table: pd.DataFrame, declared: Sequence[str]) -> Leaks:
    """The leaks among the computed features of a side's table, by `ROW`: histories, calendar parts, custom features.

    `declared` are the source's columns that the side's config names, which `declared_leaks` checks.
    """
    computed = [c for c in table if c not in declared and c != ROW]
    rows = table[~table.index.duplicated()]
    return _leaks(known, rows.loc[rows.index.intersection(known.labels.index, sort=False), computed])


def leaky_model(case: Case, role: str, other: str | None) -> Leaks:
    """A suspicion against a whole model, which predicts nearly every outcome though the other one does not."""
    score = _SCORE[case.task]

    def value(of: str) -> float:
        try:
            return metrics(case.task, case.y, case.predictions[of], case.classes)[score]
        except ValueError:
            return 0.0

    reached = value(role)
    if reached < TOO_GOOD[case.task] or (other is not None and value(other) >= TOO_GOOD[case.task]):
        return Leaks()
    why = f"it predicts nearly every outcome ({_SCORE_WORDS[score]} {reached:.3f}): its features together know the outcome"
    return Leaks((Suspect("the whole model", why),))


def changes(base: pd.DataFrame, head: pd.DataFrame, judged: pd.Index[Any]) -> tuple[FeatureChange, ...]:
    """The features that only one side has; both tables are by `ROW`, with training rows and judged rows."""
    added = [_change(name, "added", head, judged) for name in map(str, head) if name not in base]
    return (*added, *(_change(name, "removed", base, judged) for name in map(str, base) if name not in head))


def _leaks(known: Known, table: pd.DataFrame) -> Leaks:
    """Check a table by `ROW` against the outcomes of the base."""
    if table.empty or not len(table.columns):
        return Leaks()
    labels = known.labels.reindex(table.index)
    outcome, times = labels[LABEL].reset_index(drop=True), labels[EVENT_TIME].reset_index(drop=True)
    plain = table.reset_index(drop=True)
    columns = profile(plain.astype(dict.fromkeys(plain.select_dtypes("category"), object)))
    if known.task is Task.MULTICLASS:
        outcome = outcome.astype(object)
    report = suspects(columns, outcome, times, known.task)
    settled = (
        Suspect(name, "a moment after the row's own time wherever there is an outcome: it comes with the outcome")
        for name in report.settled
    )
    return Leaks((*report.suspects, *settled), tuple(report.strong))


def _change(name: str, change: str, table: pd.DataFrame, judged: pd.Index[Any]) -> FeatureChange:
    inside = table.index.isin(judged)
    before, after = table.loc[~inside, name], table.loc[inside, name]
    missing = (float(part.isna().mean()) if len(part) else None for part in (before, after))
    return FeatureChange(name, change, _distance(before.dropna(), after.dropna()), *missing)


def _distance(before: pd.Series[Any], after: pd.Series[Any]) -> float | None:
    if before.empty or after.empty:
        return None
    if pd.api.types.is_numeric_dtype(before) and pd.api.types.is_numeric_dtype(after):
        numbers = (np.asarray(part, dtype=np.float64) for part in (before, after))
        return float(scipy.stats.ks_2samp(*numbers, method="asymp").statistic)
    shares = [part.astype(str).value_counts(normalize=True) for part in (before, after)]
    table = pd.concat(shares, axis=1).fillna(0.0)
    return float(scipy.spatial.distance.jensenshannon(table.iloc[:, 0], table.iloc[:, 1], 2))
