"""Model families: the estimator, preprocessing and search space of each.

Boosting never stops early. scikit-learn would validate on random rows, which are neighbours in time of the training
rows, and stop too late. Instead the search chooses the number of trees on later rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from trueup.config.sections.training import Family
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.encoding import CATEGORICAL, NUMERIC
from trueup.domain.learning.recipe import Float, Int, Space
from trueup.errors import TrainingFailed

LIGHTGBM: Family = "lightgbm"
NO_LIGHTGBM = "the family lightgbm is not installed: pip install 'trueup[lightgbm]', or choose other train.families"
_MAX_CATEGORIES = 30  # one-hot columns per feature; rarer categories share the last one


def for_trees(schema: FeatureSchema) -> ColumnTransformer:
    """Keep numbers, number the categories; unknown and missing ones are missing, which trees can split on."""
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan, dtype=np.float32
    )
    return ColumnTransformer(
        [(NUMERIC, "passthrough", list(schema.numeric)), (CATEGORICAL, encoder, list(schema.categorical))],
        sparse_threshold=0,
    )


def _for_linear(schema: FeatureSchema) -> ColumnTransformer:
    """Impute and scale numbers, with a flag for missing ones; one-hot encode categories, rare ones together."""
    # With the flag, the imputed value hardly matters to a linear model; the mean is faster than the median.
    filler = SimpleImputer(strategy="mean", add_indicator=True)
    encoder = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MAX_CATEGORIES)
    return ColumnTransformer(
        [
            ("numeric", make_pipeline(filler, StandardScaler()), list(schema.numeric)),
            ("categorical", encoder, list(schema.categorical)),
        ]
    )


@dataclass(frozen=True)
class Learner:
    """A family for one kind of task."""

    estimator: type[Any]
    prepare: Callable[[FeatureSchema], ColumnTransformer]
    space: Space
    constants: Mapping[str, Any]
    monotone: str | None = None  # the parameter with the directions; in a recipe by patterns of feature names
    seeds: tuple[str, ...] = ("random_state",)
    further: frozenset[str] = frozenset()  # parameters that a config may set besides those of the estimator's signature


_BOOSTING: Space = {
    "learning_rate": Float(0.02, 0.2, default=0.05, log=True),
    "max_iter": Int(50, 400, default=120, log=True),
    "max_leaf_nodes": Int(7, 63, default=31, log=True),
    "min_samples_leaf": Int(10, 300, default=40, log=True),
    "l2_regularization": Float(0.01, 100, default=1.0, log=True),
    "max_features": Float(0.1, 1.0, default=0.3, log=True),
}
_LIGHTGBM: Space = {
    "learning_rate": Float(0.02, 0.2, default=0.05, log=True),
    "n_estimators": Int(50, 400, default=120, log=True),
    "num_leaves": Int(7, 63, default=31, log=True),
    "min_child_samples": Int(10, 300, default=40, log=True),
    "reg_lambda": Float(0.01, 100, default=1.0, log=True),
    "feature_fraction_bynode": Float(0.1, 1.0, default=0.3, log=True),
}
# Without these, sums depend on the number of threads and on a measurement of the machine's speed.
_ONE_THREAD = {"n_jobs": 1, "deterministic": True, "force_row_wise": True, "verbose": -1}
_FOREST: Space = {
    "max_depth": Int(6, 20, default=14),
    "min_samples_leaf": Int(2, 100, default=10, log=True),
    "max_features": Float(0.1, 0.8, default=0.3),
}
_NO_EARLY_STOP = {"early_stopping": False, "categorical_features": None}
# Extremely randomised trees (Geurts et al. 2006) need no sorting, which makes them several times quicker than a random
# forest. The limits bound time and size, because a forest grows with its rows.
_FOREST_SIZE = {"n_estimators": 100, "max_leaf_nodes": 4096, "bootstrap": True, "max_samples": 0.5}

_LEARNERS: dict[tuple[Family, bool], Learner] = {
    ("gradient_boosting", False): Learner(
        HistGradientBoostingClassifier, for_trees, _BOOSTING, _NO_EARLY_STOP, "monotonic_cst"
    ),
    ("gradient_boosting", True): Learner(
        HistGradientBoostingRegressor, for_trees, _BOOSTING, _NO_EARLY_STOP, "monotonic_cst"
    ),
    ("forest", False): Learner(ExtraTreesClassifier, for_trees, _FOREST, _FOREST_SIZE),
    ("forest", True): Learner(ExtraTreesRegressor, for_trees, _FOREST, _FOREST_SIZE),
    ("linear", False): Learner(
        LogisticRegression, _for_linear, {"C": Float(1e-4, 10, default=0.1, log=True)}, {"max_iter": 300}
    ),
    ("linear", True): Learner(Ridge, _for_linear, {"alpha": Float(0.1, 1e5, default=10, log=True)}, {}),
}


def learner_of(family: Family, task: Task) -> Learner:
    """The family for the kind of task."""
    return _lightgbm(task) if family == LIGHTGBM else _LEARNERS[family, task is Task.REGRESSION]


def _lightgbm(task: Task) -> Learner:
    if missing_package(LIGHTGBM):
        raise TrainingFailed(NO_LIGHTGBM)
    from lightgbm import LGBMClassifier, LGBMRegressor

    estimator = LGBMRegressor if task is Task.REGRESSION else LGBMClassifier
    further = {
        *_LIGHTGBM,
        "monotone_constraints",
        "monotone_constraints_method",
        "max_bin",
        "path_smooth",
        "extra_trees",
    }
    # From chunks LightGBM would draw the rows that decide the bins by a default seed, whatever `random_state` is.
    seeds = ("random_state", "data_random_seed")
    return Learner(estimator, for_trees, _LIGHTGBM, _ONE_THREAD, "monotone_constraints", seeds, frozenset(further))


def missing_package(family: Family) -> str | None:
    """The message for a family with a package that is not installed; None if nothing is missing."""
    return NO_LIGHTGBM if family == LIGHTGBM and find_spec("lightgbm") is None else None


# The type of the matrix that an estimator keeps without a copy.
MATRIX_TYPES: Mapping[type[Any], type[Any]] = {
    HistGradientBoostingClassifier: np.float64,
    HistGradientBoostingRegressor: np.float64,
    ExtraTreesClassifier: np.float32,
    ExtraTreesRegressor: np.float32,
}
