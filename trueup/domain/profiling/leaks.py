"""Leak detection: features that predict the label too well to be known beforehand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score, roc_auc_score
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from trueup.config.tasks import Task
from trueup.domain.profiling.columns import Column

_ROWS = 20_000
# AUC, accuracy or R² that nothing reaches which is known beforehand
TOO_GOOD = {Task.BINARY: 0.985, Task.MULTICLASS: 0.98, Task.REGRESSION: 0.98}
_STRONG = {
    Task.BINARY: 0.93,
    Task.MULTICLASS: 0.9,
    Task.REGRESSION: 0.85,
}  # AUC, accuracy or R² that hardly any known feature reaches
_ABSENT = 0.9  # share of empty values in the rows without an outcome that counts as empty with it
_LATER = 0.05  # share of moments after the row's own
_FEW = 0.02  # share of exceptions allowed
_SUM = 0.9999
_SPARSE = 0.2
_PART = 0.01


@dataclass(frozen=True)
class Suspect:
    """A column that should not be a feature, and the evidence."""

    column: str
    why: str


@dataclass(frozen=True)
class LeakReport:
    """Columns that know the outcome, `strong` ones that may, and `settled`: moments at which it may have become known."""

    suspects: list[Suspect]
    strong: list[Suspect]
    settled: list[str]


def suspects(columns: dict[str, Column], outcome: pd.Series[Any], times: pd.Series[Any], task: Task) -> LeakReport:
    """Find columns that know the outcome, each once, by the first evidence against it.

    `outcome` is the label by row, missing if unknown; `times` are the rows' own. A small tree on one column learns on
    the earlier rows and predicts the later ones, so that a chance fit does not count.
    """
    order = np.argsort(times.to_numpy(), kind="stable")
    suspected: dict[str, Suspect] = {}
    strong, settled = dict[str, Suspect](), list[str]()
    for name, column in columns.items():
        if _settled(column, outcome, times):
            settled.append(name)
            continue
        if why := _recorded_later(column, outcome, times) or _absent_with(column, outcome):
            suspected[name] = Suspect(name, why)
            continue
        score, why_strong = _alone(column, outcome, order, task)
        if score >= _STRONG[task]:
            (suspected if score >= TOO_GOOD[task] else strong)[name] = Suspect(name, why_strong)
    rest = [c for n, c in columns.items() if n not in suspected and c.kind in {"number", "counter"}]
    if task is not Task.MULTICLASS:
        suspected |= {s.column: s for s in _adds_up(rest, outcome)}
    return LeakReport(list(suspected.values()), [s for n, s in strong.items() if n not in suspected], settled)


def _settled(column: Column, outcome: pd.Series[Any], times: pd.Series[Any]) -> bool:
    """Whether it has a moment after the row's own for nearly every row with an outcome, and for hardly any other."""
    if column.kind != "time":
        return False
    moments, has_outcome = _without_zone(column), outcome.notna() & times.notna()
    if not has_outcome.any() or (~has_outcome & moments.notna()).sum() > _FEW * (~has_outcome).sum():
        return False
    return float((moments[has_outcome] >= times[has_outcome].dt.normalize()).mean()) > 1 - _FEW and bool(
        (moments[has_outcome] > times[has_outcome] + pd.Timedelta(days=1)).mean() > _LATER
    )


def _without_zone(column: Column) -> pd.Series[Any]:
    moments = column.values
    return moments if moments.dt.tz is None else moments.dt.tz_convert("UTC").dt.tz_localize(None)


def _recorded_later(column: Column, outcome: pd.Series[Any], times: pd.Series[Any]) -> str | None:
    if column.kind != "time":
        return None
    moments = _without_zone(column)
    both = moments.notna() & times.notna()
    later = float((moments[both] > times[both] + pd.Timedelta(days=1)).mean()) if both.any() else 0.0
    unknown = outcome.isna() & times.notna()
    with_it = unknown.sum() >= 20 and moments[unknown].isna().mean() > _ABSENT > moments[~unknown].isna().mean()
    if later > _LATER or with_it:
        return f"a moment after the row's own time in {later:.0%} of the rows: recorded after the event"
    return None


def _absent_with(column: Column, outcome: pd.Series[Any]) -> str | None:
    """Whether the column is filled exactly when the outcome is, or its missing values predict the outcome."""
    empty, unknown = column.values.isna(), outcome.isna()
    if unknown.sum() >= 20 and empty[unknown].mean() > _ABSENT and empty[~unknown].mean() < 1 - _ABSENT:
        return f"empty in {empty[unknown].mean():.0%} of the rows without an outcome, filled in {1 - empty[~unknown].mean():.0%} of the others: it comes with the outcome"
    outcomes = outcome[~unknown]
    if outcomes.nunique() == 2 and 0.01 < empty[~unknown].mean() < 0.99:
        positive = outcomes == sorted(outcomes.unique())[-1]
        score = roc_auc_score(positive, empty[~unknown])
        if max(score, 1 - score) > 0.95:
            return f"whether it is filled predicts the outcome (AUC {max(score, 1 - score):.3f})"
    return None


def _alone(column: Column, outcome: pd.Series[Any], order: Any, task: Task) -> tuple[float, str]:
    """How well the column alone predicts later outcomes, and a description; 0 if unknown."""
    if column.kind not in {"number", "category", "counter", "identifier"} or column.many:
        return 0.0, ""
    rows = order[outcome.notna().to_numpy()[order]]
    rows = rows[:: max(len(rows) // _ROWS, 1)]
    if len(rows) < 100:
        return 0.0, ""
    y = outcome.iloc[rows]
    values = column.values.iloc[rows]
    x = values.to_numpy(float) if column.kind in {"number", "counter"} else _ranked(values, y, len(rows) * 6 // 10)
    half = len(rows) * 6 // 10
    early, late = slice(None, half), slice(half, None)
    X = x.reshape(-1, 1)
    if task is Task.REGRESSION:
        tree = DecisionTreeRegressor(max_leaf_nodes=200, min_samples_leaf=5).fit(X[early], y[early])
        score, named = float(r2_score(y[late], tree.predict(X[late]))), "R²"
    elif y[early].nunique() < 2 or y[late].nunique() < 2:
        return 0.0, ""
    else:
        fitted = DecisionTreeClassifier(max_leaf_nodes=32, min_samples_leaf=5).fit(X[early], y[early].astype(str))
        score, named = _score(fitted, X[late], y[late].astype(str), task)
    if score < TOO_GOOD[task]:
        return score, f"{named} {score:.2f}"
    same = column.distinct == outcome.nunique() and score > 0.999
    kind = "a copy of the outcome in other words" if same else "near-perfect alone"
    return score, f"{kind}: learned on the earlier rows, it predicts the later outcomes with {named} {score:.3f}"


def _score(tree: Any, X: Any, y: pd.Series[Any], task: Task) -> tuple[float, str]:
    if task is Task.BINARY:
        return float(roc_auc_score(y == tree.classes_[-1], tree.predict_proba(X)[:, -1])), "AUC"
    predictions = tree.predict(X)
    return float(min(balanced_accuracy_score(y, predictions), accuracy_score(y, predictions))), "accuracy"


def _ranked(values: pd.Series[Any], y: pd.Series[Any], half: int) -> Any:
    """Categories in the order of their earlier outcomes."""
    codes, _ = pd.factorize(y, sort=True)
    numbers = pd.Series(y.to_numpy(float) if pd.api.types.is_numeric_dtype(y) else codes, index=values.index)
    mean = numbers.iloc[:half].groupby(values.iloc[:half]).mean()
    return values.map(mean).astype(float).to_numpy()


def _adds_up(columns: Sequence[Column], outcome: pd.Series[Any]) -> Iterator[Suspect]:
    """Whether the outcome is a sum or difference of columns, like a delay between two times."""
    if not columns or not pd.api.types.is_numeric_dtype(outcome) or outcome.nunique() <= 2:
        return
    full = [c for c in columns if c.absent <= _SPARSE]  # only rows with all of them count
    table = pd.DataFrame({c.name: c.values for c in full}).assign(**{"": outcome}).dropna()
    table = table.iloc[:: max(len(table) // _ROWS, 1)]
    if len(table) < 10 * len(columns):
        return
    y, X = table.pop(""), table
    scale = X.std().replace(0, 1)
    fitted = LinearRegression().fit((X - X.mean()) / scale, y)
    if fitted.score((X - X.mean()) / scale, y) < _SUM:
        return
    parts = [n for n, w in zip(X.columns, fitted.coef_, strict=True) if abs(w) > _PART * y.std()]
    for name in parts:
        yield Suspect(name, f"the outcome is {' and '.join(parts)} added up: together they are equal to it")
