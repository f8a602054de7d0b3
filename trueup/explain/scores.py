"""The score of a fitted pipeline that contributions add up to, and its trees if it has some."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline

from trueup.adapters.onnx.trees import Tree, lightgbm_head, of_boosting, of_forest, of_lightgbm
from trueup.domain.learning.encoding import encodes
from trueup.domain.learning.recipe import is_lightgbm

Floats = NDArray[np.float64]
VALUE, LOG_ODDS, PROBABILITY = "value", "log-odds", "probability"
_LOGS: Final = {"poisson", "gamma", "tweedie"}
_SINGLE: Final = (ExtraTreesClassifier, ExtraTreesRegressor)


@dataclass(frozen=True)
class Score:
    """What is explained: `scale` in words, and the scores (n,) of rows, as a frame of the model's inputs.

    `trees` are those whose values add up to the score besides a constant, None for another model; they take encoded rows
    of the type `matrix`. `additive` says that the score is a sum of functions of one input each.
    """

    scale: str
    of: Callable[[pd.DataFrame], Floats]
    trees: list[Tree] | None = None
    matrix: type[Any] = np.float64
    additive: bool = False


def score_of(fitted: Pipeline, target: str | None) -> Score:
    """The score of a fitted pipeline: log-odds or raw score of boosting and linear classifiers, else what is predicted.

    `target` is the class of a multiclass model.
    """
    estimator = fitted[-1]
    place = 0 if target is None else [str(c) for c in fitted.classes_].index(target)
    of = "" if target is None else f" of {target}"
    score = _score(fitted, estimator, place, of)
    if score.trees is not None and not encodes(fitted):
        return replace(score, trees=None)
    return score


def _score(fitted: Pipeline, estimator: Any, place: int, of: str) -> Score:
    kind = type(estimator)
    if kind is HistGradientBoostingClassifier:
        scale = f"raw score{of}" if of else LOG_ODDS
        return Score(scale, _column(fitted.decision_function, place), _boosting(estimator, place))
    if kind is HistGradientBoostingRegressor:
        logs = type(estimator._loss.link).__name__ == "LogLink"
        return Score(*_value(fitted, logs), _boosting(estimator, 0))
    if is_lightgbm(estimator):
        return _lightgbm(fitted, estimator, place, of)
    if kind in _SINGLE:
        classifies = hasattr(estimator, "classes_")
        column = place if of else 1
        trees = [of_forest(tree) for tree in estimator.estimators_]
        size = len(trees)
        chosen = [replace(t, values=t.values[:, [column if classifies else 0]] / size) for t in trees]
        scale, scores = _predicted(fitted, column, of) if classifies else _value(fitted, False)
        return Score(scale, scores, chosen, np.float32)
    if kind is LogisticRegression:
        return Score(f"raw score{of}" if of else LOG_ODDS, _column(fitted.decision_function, place), additive=True)
    constant = kind in (DummyClassifier, DummyRegressor)
    if hasattr(estimator, "predict_proba"):
        return Score(*_predicted(fitted, place if of else 1, of), additive=constant)
    return Score(*_value(fitted, False), additive=constant or kind is Ridge)


def _boosting(estimator: Any, place: int) -> list[Tree] | None:
    try:
        return [of_boosting(iteration[place]) for iteration in estimator._predictors]
    except ValueError:  # it splits on sets of categories
        return None


def _lightgbm(fitted: Pipeline, estimator: Any, place: int, of: str) -> Score:
    head = lightgbm_head(estimator)
    objective = head["objective"].split()
    if "average_output" in head or "sqrt" in objective:  # the trees are averaged, or their sum is squared
        classifies = hasattr(fitted, "classes_")
        return Score(*(_predicted(fitted, place if of else 1, of) if classifies else _value(fitted, False)))
    try:
        trees = of_lightgbm(estimator)[place :: int(head["num_tree_per_iteration"])]
    except ValueError:
        trees = None
    scale = {"binary": LOG_ODDS}.get(objective[0], "log of the value" if objective[0] in _LOGS else VALUE)
    if objective[0] == "binary" and "sigmoid:1" not in objective:
        scale = "raw score"

    def raw(rows: pd.DataFrame) -> Floats:
        scores = np.asarray(estimator.predict(fitted[:-1].transform(rows), raw_score=True), dtype=np.float64)
        return scores if scores.ndim == 1 else scores[:, place]

    return Score(f"raw score{of}" if of else scale, raw, trees)


def _column(function: Callable[[pd.DataFrame], Any], place: int) -> Callable[[pd.DataFrame], Floats]:
    def column(rows: pd.DataFrame) -> Floats:
        scores = np.asarray(function(rows), dtype=np.float64)
        return scores if scores.ndim == 1 else scores[:, place]

    return column


def _predicted(fitted: Pipeline, place: int, of: str) -> tuple[str, Callable[[pd.DataFrame], Floats]]:
    return f"{PROBABILITY}{of}", _column(fitted.predict_proba, place)


def _value(fitted: Pipeline, logs: bool) -> tuple[str, Callable[[pd.DataFrame], Floats]]:
    def value(rows: pd.DataFrame) -> Floats:
        values = np.asarray(fitted.predict(rows), dtype=np.float64)
        return np.log(values) if logs else values

    return "log of the value" if logs else VALUE, value
