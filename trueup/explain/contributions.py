"""What each feature contributed to the score of a row, against rows that the version was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from trueup.domain.learning.encoding import columns_of, matrix_of
from trueup.explain.case import Case, Made
from trueup.explain.explanation import Contribution, Contributions
from trueup.explain.scores import Score, score_of
from trueup.explain.shapley import MOST_EXACT, Floats, additive, enumerated, sampled
from trueup.explain.tree_shap import shapley_values

BACKGROUND: Final = 100  # training rows that a row is compared with
_PAIRS: Final = 4  # of orders of the columns, in each background row
_SEED: Final = 0
_GAP: Final = 1e-6  # relative to the size of the terms: a larger one is no rounding


def contributions(case: Case) -> Made:
    """The contributions of the features to the version's score for the row.

    The background rows are drawn from the sample of the training rows. Raises WorkError if that is gone.
    """
    background = drawn(case.training, BACKGROUND)
    score = score_of(case.fitted, case.known.target)
    with threadpool_limits(limits=1):
        shared = [name for name in case.names if name in background]
        names, parts, errors, method = parts_of(case.fitted, score, case.frame[shared], background)
        own, base = float(score.of(case.frame)[0]), float(score.of(background).mean())
    gap = own - base - float(parts.sum())
    made = Contributions(
        scale=score.scale,
        method=method,
        exact=errors is None,
        base=base,
        score=own,
        gap=gap,
        background=len(background),
        parts=tuple(
            Contribution(names[i], case.value(names[i]), float(parts[i]), 0.0 if errors is None else float(errors[i]))
            for i in np.argsort(-np.abs(parts), kind="stable")
        ),
    )
    size = max(1.0, abs(own), abs(base), float(np.abs(parts).sum()))
    if abs(gap) <= _GAP * size:
        return {"contributions": made}, ()
    return {"contributions": made}, (f"the contributions miss the score by {gap:.3g}, so they are not to be relied on",)


def drawn(rows: pd.DataFrame, n: int) -> pd.DataFrame:
    """At most `n` rows, the same ones at each call."""
    if len(rows) <= n:
        return rows
    return rows.iloc[np.sort(np.random.default_rng(_SEED).choice(len(rows), n, replace=False))]


def parts_of(
    fitted: Pipeline, score: Score, row: pd.DataFrame, background: pd.DataFrame
) -> tuple[Sequence[str], Floats, Floats | None, str]:
    """The features, their contributions to the score of a row (1, p), and the method in words.

    Between the last two are the standard errors of the contributions if they are estimates, else None. `background`
    (n, any) has the row's columns.
    """
    if score.trees is not None:
        encoded = [matrix_of(fitted[0], rows, score.matrix).astype(np.float64) for rows in (row, background)]
        return columns_of(fitted[0]), shapley_values(score.trees, encoded[0][0], encoded[1]), None, "tree SHAP, exact"
    mixed, columns = Mixed(score, row, background), len(row.columns)
    names = [str(name) for name in row.columns]
    if score.additive:
        return names, additive(mixed, columns, len(background)), None, "a sum of one term a feature, exact"
    if columns <= MOST_EXACT:
        return names, enumerated(mixed, columns, len(background)), None, "all subsets of the features, exact"
    parts, errors = sampled(mixed, columns, len(background), _PAIRS, _SEED)
    orders = 2 * _PAIRS * len(background)
    return names, parts, errors, f"an estimate from {orders:,} orders of the features"


class Mixed:
    """Scores rows that mix the explained row with background rows, see `shapley.Mixed`."""

    def __init__(self, score: Score, row: pd.DataFrame, background: pd.DataFrame) -> None:
        self._score = score
        self._columns = {str(name): (_values(row[name]), _values(background[name])) for name in row.columns}

    def __call__(self, masks: NDArray[np.bool_], places: NDArray[np.intp]) -> Floats:
        mixed = {
            name: np.where(masks[:, k], own[0], others[places])
            for k, (name, (own, others)) in enumerate(self._columns.items())
        }
        return self._score.of(pd.DataFrame(mixed))


def _values(column: pd.Series[Any]) -> NDArray[Any]:
    """The values, with NaN for a missing category, as encoders take it."""
    if isinstance(column.dtype, pd.CategoricalDtype) or column.dtype == object:
        return column.astype(object).where(column.notna(), np.nan).to_numpy()
    return column.to_numpy()
