"""Recipes and search spaces, without an import of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from trueup.config.sections.training import Family, Parameters

StandIn = Literal["simple", "prior"]
# Types that skops must trust besides its own list, for every model of `build`, `simple_model` or `prior_model`.
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
)


@dataclass(frozen=True)
class Float:
    """A real parameter in [low, high]; `log` draws it evenly in its logarithm."""

    low: float
    high: float
    default: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, float | int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Int:
    """An integer parameter in [low, high]; `log` draws it evenly in its logarithm."""

    low: int
    high: int
    default: int
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high


@dataclass(frozen=True)
class Choice:
    """A parameter with named values; the first is the default."""

    values: tuple[str | float | int | bool | None, ...]

    @property
    def default(self) -> str | float | int | bool | None:
        return self.values[0]

    def __contains__(self, value: object) -> bool:
        return value in self.values


Space = Mapping[str, Float | Int | Choice]


@dataclass(frozen=True)
class Recipe:
    """All that `build` needs besides the columns: the family, every parameter it sets, and the seed."""

    family: Family | StandIn
    parameters: Parameters
    seed: int = 0


ENGINE = "lightgbm.dask"
ON_WORKERS = ("engine", "workers")  # parameters of a recipe that is fitted by several workers, not of its estimator


def on_workers(recipe: Recipe, workers: int | None) -> Recipe:
    """The recipe for so many workers of `lightgbm.dask`, which the model depends on. Other families stay as they are."""
    if workers is None or recipe.family != "lightgbm":
        return recipe
    return replace(recipe, parameters={**recipe.parameters, "engine": ENGINE, "workers": workers})


def workers_of(recipe: Recipe) -> int | None:
    """How many workers fit a recipe; None for a fit in one process."""
    workers: int | None = recipe.parameters.get("workers") if recipe.parameters.get("engine") == ENGINE else None
    return workers


@dataclass(frozen=True)
class Trial:
    """A recipe that a search tried. `value` is its mean loss over the folds, None unless all were measured."""

    number: int
    family: Family | StandIn
    parameters: Parameters
    state: Literal["complete", "pruned", "failed"]
    folds: list[float]
    value: float | None = None
    error: str | None = None


def is_lightgbm(estimator: object) -> bool:
    """Whether an estimator is LightGBM's, without importing it."""
    return type(estimator).__module__.startswith("lightgbm.")
