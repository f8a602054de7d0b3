"""Training rows near the explained one."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.domain.data.values import as_text
from trueup.domain.learning.encoding import columns_of, encodes
from trueup.domain.learning.learning import class_names
from trueup.domain.types import EVENT_TIME, LABEL
from trueup.explain.case import Case, Made, plain
from trueup.explain.explanation import Neighbour
from trueup.handoffs import FITTED, prediction_of

Floats = NDArray[np.float64]
_NEAREST: Final = 5
_UNLIKE: Final = 3  # features of a neighbour that differ most
_SPREAD: Final = (0.05, 0.95)  # the quantiles between which a difference counts as whole


def neighbours(case: Case) -> Made:
    """The nearest ones of the sampled training rows, by the mean difference of the features that the model uses."""
    training = case.training
    names = columns_of(case.fitted[0]) if encodes(case.fitted) else case.names
    names = [name for name in names if name in training]
    each = np.column_stack([differences(training[name], case.frame[name]) for name in names])  # (n, p)
    distance = each.mean(axis=1)
    predicted = prediction_of(training, FITTED, classes := class_names(case.model.config.task, case.fitted))
    if classes is not None:
        predicted = predicted[:, classes.index(str(case.known.target))]
    features = case.version.made.features

    def one(place: int) -> Neighbour:
        row = training.iloc[place]
        most = [k for k in np.argsort(-each[place], kind="stable")[:_UNLIKE] if each[place, k] > 0]
        return Neighbour(
            distance=float(distance[place]),
            event_time=row[EVENT_TIME].to_pydatetime(),
            outcome=plain(row[LABEL]),
            prediction=float(predicted[place]),
            unlike={names[k]: case.privacy.feature(names[k], row[names[k]], features) for k in most},
        )

    nearest = np.argsort(distance, kind="stable")[:_NEAREST]
    return {"neighbours": tuple(map(one, nearest.tolist())), "neighbours_of": len(training)}, ()


def differences(column: pd.Series[Any], row: pd.Series[Any]) -> Floats:
    """How far each value of a feature (n,) is from the row's (1,): from 0 to 1.

    A number's is its distance in units of the span from the 5 % to the 95 % quantile, at most 1; a category's is 0 or 1,
    and so is that of a missing value (Gower 1971, "A general coefficient of similarity and some of its properties").

    >>> differences(pd.Series([0.0, 1.0, 2.0, None]), pd.Series([0.5])).round(3).tolist()
    [0.278, 0.278, 0.833, 1.0]
    >>> differences(pd.Series(["a", None, "b"]), pd.Series([None], dtype=object)).tolist()
    [1.0, 0.0, 1.0]
    """
    missing, own_missing = column.isna().to_numpy(), bool(row.isna().iloc[0])
    if own_missing:
        return np.where(missing, 0.0, 1.0)
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        low, high = np.quantile(values[~missing], _SPREAD) if not missing.all() else (0.0, 0.0)
        apart = np.abs(values - float(row.iloc[0]))
        unit = np.minimum(apart / (high - low), 1.0) if high > low else (apart > 0).astype(np.float64)
        return np.where(missing, 1.0, unit)
    own = as_text(pd.Series([row.iloc[0]], dtype=object)).iloc[0]
    return np.where((as_text(column) == own).to_numpy(), 0.0, 1.0)
