"""Small pipelines of each family, fitted on columns of every awkward kind."""

import numpy as np
import pandas as pd

from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning import learning
from trueup.domain.learning.recipe import Recipe

FAMILIES = ("gradient_boosting", "lightgbm", "forest", "linear", "simple", "prior")
NUMBERS = ("price", "gappy", "steady", "empty", "narrow", "whole")
CATEGORIES = ("town", "flag", "rare_gap", "nothing")
SCHEMA = FeatureSchema(NUMBERS, CATEGORIES)
_SMALL = {"gradient_boosting": {"max_iter": 12}, "forest": {"n_estimators": 9}, "lightgbm": {"n_estimators": 12}}


def table(rows, seed=0):
    """Numbers with gaps, a constant one, one without values, a float32 one; categories with many rare values, truths, gaps."""
    rng = np.random.default_rng(seed)
    towns = [f"town {i}" for i in range(60)]
    shares = np.arange(1, 61) / np.arange(1, 61).sum()
    return pd.DataFrame(
        {
            "price": np.round(rng.normal(50, 20, rows), 1),
            "gappy": np.where(rng.random(rows) < 0.3, np.nan, rng.normal(size=rows)),
            "steady": np.full(rows, 0.1),
            "empty": np.full(rows, np.nan),
            "narrow": rng.normal(size=rows).astype(np.float32),
            "whole": rng.integers(-3, 4, rows).astype(float),
            "town": pd.Categorical(rng.choice(towns, rows, p=shares)),
            "flag": pd.Categorical(rng.choice(["false", "true"], rows)),
            "rare_gap": pd.Categorical(np.where(rng.random(rows) < 0.2, None, rng.choice(["a", "nan", ""], rows))),
            "nothing": pd.Categorical([None] * rows),
        }
    )


def messy(rows, seed=1):
    """Rows to predict: gaps in every column, unknown categories, columns in another order."""
    rng = np.random.default_rng(seed)
    frame = table(rows, seed)
    for name in (*NUMBERS, *CATEGORIES):
        frame[name] = frame[name].mask(rng.random(rows) < 0.15)
    frame["town"] = frame["town"].astype(object).where(rng.random(rows) < 0.8, "a new town")
    frame["nothing"] = "something"
    frame["empty"] = 1.5
    return frame.astype(dict.fromkeys(CATEGORIES, "category"))[list(reversed(frame.columns))]


def labels(X, task):
    """Labels that depend on the columns of `table`."""
    score = (X["price"] - 50) / 20 + X["gappy"].fillna(1) + X["narrow"] + (X["flag"] == "true") / 2
    if task is Task.REGRESSION:
        return (score * 40).to_numpy(dtype=float)
    if task is Task.BINARY:
        return (score > 0).astype(int).to_numpy()
    return np.array(["amber", "green", "red"])[np.digitize(score, [-1, 1])]


def fit(family, task, X, y, schema=SCHEMA, **parameters):
    """A fitted pipeline of a family, with few trees."""
    if family == "simple":
        recipe = Recipe(family, {"columns": ["price", "gappy", "town"]})
    elif family == "prior":
        recipe = Recipe(family, {})
    else:
        recipe = Recipe(family, {**learning.defaults(family, task), **_SMALL.get(family, {}), **parameters}, seed=1)
    return learning.fit(learning.build(recipe, schema, task), X, y)


def dtypes(X):
    """The dtypes of a frame, as text."""
    return {name: str(dtype) for name, dtype in X.dtypes.items()}


def apart(there, here):
    """The largest difference of predictions, relative to max(1, |value|); NaN for one that is NaN."""
    assert there.shape == here.shape
    return float(np.max(np.abs(there - here) / np.maximum(1, np.abs(here)), initial=0.0))
