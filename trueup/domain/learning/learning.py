"""Model families: recipes, their pipelines, and how pipelines are fitted and predict.

A pipeline has its preprocessing and only classes of scikit-learn or LightGBM, so that it loads anywhere. It takes the feature
frame and selects its columns by name. Missing values, new categories and columns without any value are not errors. The
same recipe on the same rows results in the same model, bit for bit: seeds are part of the recipe, and fitting uses one
thread, because sums over several threads depend on their number.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn import inspection
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline, make_pipeline
from threadpoolctl import ThreadpoolController

from trueup.config.rules import Mistake
from trueup.config.sections.training import Family, Parameters
from trueup.config.tasks import Task
from trueup.domain.features.chunks import Rows, chunks_of, columns_with_values, frame_of
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.encoding import columns_of, encodes, fit_encoder, matrix_of, width_of
from trueup.domain.learning.families import MATRIX_TYPES, for_trees, learner_of, missing_package
from trueup.domain.learning.recipe import ON_WORKERS, Recipe, Space, is_lightgbm
from trueup.errors import TrainingFailed
from trueup.hints import did_you_mean

Floats = NDArray[np.float64]
# Fits an estimator of LightGBM on rows that a fitted transformer encodes, with their labels (n,) and weights.
Boost = Callable[[Any, ColumnTransformer, Rows, NDArray[Any], Floats | None], None]


SIMPLE_ROWS = 20_000  # more rows make a linear model slower but hardly better
_THREADS = 1
_MONOTONE = {"model__monotonic_cst", "model__monotone_constraints"}
_RESERVED = {
    "random_state": "the seed is train.seed",
    "early_stopping": "its validation rows would be drawn at random, not from later times; set max_iter",
    "categorical_features": "categories are encoded before the model, because an exported model would be wrong otherwise",
    "n_jobs": "fitting uses one thread, so that it can be repeated",
    "warm_start": "every fit starts from the beginning",
    "verbose": "it does not change the model",
    "deterministic": "fits can always be repeated",
    "force_row_wise": "the fastest way would be measured, and the model would depend on it",
}


# Models that replace a challenger if they do better, see `domain.judging.gates.doubt`: a linear model of some columns, and
# the constant. No search chooses them.


def space(family: Family, task: Task) -> Space:
    """The search space of a family, by the estimator's parameter names."""
    return learner_of(family, task).space


def defaults(family: Family, task: Task) -> Parameters:
    """Every parameter that Trueup sets, at its starting value. Recipes record all, so later defaults change no recipe."""
    learner = learner_of(family, task)
    return {**learner.constants, **{name: varied.default for name, varied in learner.space.items()}}


def problems(fixed: Mapping[Family, Mapping[str, Any]], task: Task, families: Iterable[Family] = ()) -> list[Mistake]:
    """Find the mistakes in `train.parameters`, and the `families` that are not installed; values are checked when fitting."""
    lacking = {family: missing_package(family) for family in families}
    mistakes = [Mistake(("train", "families"), lacks) for lacks in lacking.values() if lacks]
    for family, parameters in fixed.items():
        if missing_package(family):
            continue
        learner = learner_of(family, task)
        parameters_of = learner.estimator().get_params().keys() | learner.further
        for name in parameters:
            at = ("train", "parameters", family, name)
            if name in _RESERVED:
                mistakes.append(Mistake(at, f"cannot be set: {_RESERVED[name]}"))
            elif name not in parameters_of:
                mend = did_you_mean(
                    name, parameters_of, f"it has {', '.join(sorted(parameters_of - _RESERVED.keys()))}"
                )
                mistakes.append(Mistake(at, f"{learner.estimator.__name__} has no such parameter; {mend}"))
    return mistakes


def build(recipe: Recipe, schema: FeatureSchema, task: Task) -> Pipeline:
    """Make the unfitted pipeline of a recipe. The directions of monotone features may be patterns: {"late_rate_*": 1}."""
    if recipe.family in ("simple", "prior"):
        return _stand_in(recipe, schema, task)
    learner = learner_of(cast("Family", recipe.family), task)
    parameters = {name: value for name, value in recipe.parameters.items() if name not in ON_WORKERS}
    if learner.monotone and isinstance(signs := parameters.get(learner.monotone), Mapping):
        parameters[learner.monotone] = {
            name: next((sign for pattern, sign in signs.items() if fnmatchcase(name, pattern)), 0)
            for name in schema.names
        }  # the first matching pattern decides
    estimator = learner.estimator(**parameters, **dict.fromkeys(learner.seeds, recipe.seed))
    return Pipeline([("prepare", learner.prepare(schema)), ("model", estimator)])


def _stand_in(recipe: Recipe, schema: FeatureSchema, task: Task) -> Pipeline:
    """Make the simple model of the columns in its recipe, or the prior, which takes the same frame as all others."""
    if recipe.family == "simple":
        columns = set(recipe.parameters["columns"])
        part = FeatureSchema(*(tuple(c for c in kind if c in columns) for kind in (schema.numeric, schema.categorical)))
        return simple_model(part, task, recipe.seed)
    constant = DummyRegressor() if task is Task.REGRESSION else DummyClassifier(strategy="prior")
    return Pipeline([("prepare", for_trees(schema)), ("model", constant)])


def simple_model(schema: FeatureSchema, task: Task, seed: int = 0) -> Pipeline:
    """Make the unfitted cheap reference, a linear model. `fit(..., at_most=SIMPLE_ROWS)` keeps it cheap."""
    return build(Recipe("linear", defaults("linear", task), seed), schema, task)


def prior_model(task: Task) -> Pipeline:
    """Make the unfitted constant model: it predicts the classes' shares, or the mean."""
    return make_pipeline(DummyRegressor() if task is Task.REGRESSION else DummyClassifier(strategy="prior"))


def recency(moments: pd.Series[Any], half_life: timedelta | None) -> Floats | None:
    """The weights (n,) of rows in a fit: 1 for the newest, halved for each half-life of age; None for equal weights.

    >>> recency(pd.Series(pd.to_datetime(["2024-01-01", "2024-01-08"])), timedelta(days=7)).tolist()
    [0.5, 1.0]
    """
    if half_life is None:
        return None
    return np.asarray(0.5 ** ((moments.max() - moments) / half_life), dtype=np.float64)


def fit(
    model: Pipeline,
    X: Rows,
    y: ArrayLike,
    at_most: int | None = None,
    seed: int = 0,
    weights: Floats | None = None,
    boost: Boost | None = None,
) -> Pipeline:
    """Return a fitted copy of the pipeline.

    `X` (n, any) has at least the columns of its schema, as a frame or in chunks, `y` (n,) the labels: 0/1, class names, or numbers; `weights`
    (n,) are the rows' weights in the estimator (equal by default). Columns without any value are left out, because
    boosting fails on them. With `at_most`, more rows are thinned to that number at random by `seed`. `boost`
    fits LightGBM elsewhere than in this process. Raises TrainingFailed with scikit-learn's reason.
    """
    labels = np.asarray(y)
    if at_most is not None and len(labels) > at_most:
        kept = np.sort(np.random.default_rng(seed).choice(len(labels), at_most, replace=False))
        X, labels, weights = X.take(kept), labels[kept], None if weights is None else weights[kept]
    model = _with_values_only(model, X)
    estimator = model[-1]
    _require_classes(estimator, labels)
    try:
        with _pools().limit(limits=_THREADS), warnings.catch_warnings():
            # A linear model at its limit of iterations is judged by its loss on later rows like any other.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit_steps(model, X, labels, weights, boost)
    except ValueError as error:
        raise TrainingFailed(
            f"{type(estimator).__name__} could not be fitted on {len(labels):,} rows: {error}; "
            "check train.parameters, and validate the columns"
        ) from error
    return model


def fit_steps(
    model: Pipeline, X: Rows, labels: NDArray[Any], weights: Floats | None, boost: Boost | None = None
) -> None:
    """Fit the steps of a pipeline like its own `fit`: those for trees chunk by chunk, see `encoding`."""
    dtype, estimator = MATRIX_TYPES.get(type(model[-1])), model[-1]
    if is_lightgbm(estimator) and encodes(model):
        from trueup.domain.learning import lightgbm_fit  # the package is an extra

        (boost or lightgbm_fit.fit)(estimator, fit_encoder(model[0], X), X, labels, weights)
        return
    if isinstance(estimator, DummyClassifier | DummyRegressor):
        _fit_constant(model, X, labels)
        return
    if dtype is None or not encodes(model):
        model.fit(frame_of(X), labels, **({} if weights is None else {"model__sample_weight": weights}))
        return
    prepare = fit_encoder(model[0], X)
    estimator.fit(matrix_of(prepare, X, dtype), labels, **({} if weights is None else {"sample_weight": weights}))


def _fit_constant(model: Pipeline, X: Rows, labels: NDArray[Any]) -> None:
    """Fit a constant, which learns from the labels alone: of the rows only the encoder, if there is one, reads some."""
    width = width_of(fit_encoder(model[0], X)) if encodes(model) else len(X.columns)
    model[-1].fit(np.broadcast_to(np.float32(0), (len(labels), width)), labels)


def at_most(recipe: Recipe) -> int | None:
    """The largest number of rows that a recipe is fitted on; None for all."""
    return SIMPLE_ROWS if recipe.family == "simple" else None


def class_names(task: Task, model: Pipeline) -> list[str] | None:
    """The classes of a fitted multiclass model, in the order of its probabilities; None for other tasks."""
    return [str(c) for c in model.classes_] if task is Task.MULTICLASS else None


def all_classes(task: Task, models: Iterable[Pipeline], *labels: ArrayLike) -> list[str] | None:
    """The sorted classes of all models and labels; None for other tasks than multiclass.

    Models are compared on these. On one model's own classes, another model's probability for a class that the first
    does not know would be lost.
    """
    if task is not Task.MULTICLASS:
        return None
    names = {c for model in models for c in class_names(task, model) or []}
    return sorted(names | {str(c) for y in labels for c in pd.unique(np.asarray(y, dtype=object))})


@cache
def _pools() -> ThreadpoolController:
    """The thread pools of the loaded libraries. Finding them takes as long as a small prediction, so it is done once."""
    return ThreadpoolController()


def predict(model: Pipeline, X: Rows, task: Task, classes: Sequence[str] | None = None) -> Floats:
    """Predict each row: p(positive) (n,), a value (n,), or class probabilities (n, k).

    The columns of a multiclass prediction are the model's own sorted classes, or `classes` if given: a class that the
    model does not know has probability 0. Rows are predicted in chunks if that gives the same bits.
    """
    return predict_each({"": model}, X, task, classes)[""]


def predict_each(
    models: Mapping[str, Pipeline], X: Rows, task: Task, classes: Sequence[str] | None = None
) -> dict[str, Floats]:
    """Predict each row with several models, like `predict`, in one reading of the rows."""
    parts: dict[str, list[Floats]] = {name: [] for name in models}
    with _pools().limit(limits=_THREADS):
        for rows in pieces(models.values(), X, task):
            for name, model in models.items():
                parts[name].append(_predict(model, rows, task, classes))
    return {name: of[0] if len(of) == 1 else np.concatenate(of) for name, of in parts.items()}


def pieces(models: Iterable[Pipeline], X: Rows, task: Task) -> Iterable[pd.DataFrame]:
    """The rows in chunks that these models predict to the bit like all rows at once.

    Trees predict each row by itself. A matrix product adds in an order that depends on a row's place among the rows: in
    chunks of `CHUNK` rows with one output a row has the same place, with several outputs the order may be another one.
    Then, and without rows, there is one piece.
    """
    if len(X) and (task is not Task.MULTICLASS or all(_by_row(model) for model in models)):
        return chunks_of(X)
    return [frame_of(X)]


def _by_row(model: Pipeline) -> bool:
    """Whether a model predicts each row by itself: trees, and a constant."""
    return encodes(model) or isinstance(model[-1], DummyClassifier | DummyRegressor)


def _predict(model: Pipeline, X: pd.DataFrame, task: Task, classes: Sequence[str] | None) -> Floats:
    if task is Task.REGRESSION:
        return np.asarray(model.predict(X) if len(X) else [], dtype=np.float64)
    own_classes = list(model.classes_)
    wanted: Sequence[Any] = [1] if task is Task.BINARY else own_classes if classes is None else classes
    probabilities = model.predict_proba(X) if len(X) else np.empty((0, len(own_classes)))
    with_unknown = np.column_stack([*probabilities.T, np.zeros(len(X))])  # the last column is for unknown classes
    aligned = with_unknown[:, [own_classes.index(c) if c in own_classes else -1 for c in wanted]]
    return np.asarray(aligned[:, 0] if task is Task.BINARY else aligned, dtype=np.float64)


def permutation_importance(
    model: Pipeline, X: pd.DataFrame, y: ArrayLike, schema: FeatureSchema, task: Task,
    rows: int = 2_000, repeats: int = 3, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Measure how much the mean loss grows when a feature is shuffled (Breiman 2001).

    At most `rows` rows are used, drawn by `seed`. Returns one row per feature, the most important first: feature, mean,
    low, high; the bounds are two standard deviations over the repeats on either side. Features with the same
    information share their importance, so each of them looks small.
    """
    chosen = np.random.default_rng(seed).permutation(len(X))[:rows]
    X, labels = X.iloc[chosen][list(schema.names)], np.asarray(y)[chosen]
    classes = list(model.classes_) if task is Task.MULTICLASS else None
    matrix: Any = X
    names = list(schema.names)
    if encodes(model):  # an encoded column is a feature, so the rows are encoded once instead of for each shuffle
        names, matrix, model = columns_of(model[0]), matrix_of(model[0], X, np.float64), model[1:]

    def gain(pipeline: Pipeline, shuffled: Any, truth: NDArray[Any]) -> float:
        return -float(row_losses(task, truth, _predict(pipeline, shuffled, task, classes), classes).mean())

    with _pools().limit(limits=_THREADS):
        importance = inspection.permutation_importance(
            model, matrix, labels, scoring=gain, n_repeats=repeats, random_state=seed
        )
    mean, spread = importance.importances_mean, 2 * importance.importances_std
    table = pd.DataFrame({"feature": names, "mean": mean, "low": mean - spread, "high": mean + spread})
    unused = pd.DataFrame({"feature": [name for name in schema.names if name not in names]})
    table = pd.concat([table, unused.assign(mean=0.0, low=0.0, high=0.0)])  # they had no value in training
    return table.sort_values(["mean", "feature"], ascending=[False, True], ignore_index=True)


def _with_values_only(model: Pipeline, X: Rows) -> Pipeline:
    """Copy the unfitted pipeline without the columns that have no value in X."""
    fresh: Pipeline = clone(model)
    if (prepare := fresh.named_steps.get("prepare")) is None:
        return fresh
    valued = columns_with_values(X, [c for _, _, columns in prepare.transformers for c in columns])
    kept = [(name, step, [c for c in columns if c in valued]) for name, step, columns in prepare.transformers]
    # The estimator sees columns without names, so the directions are in their order.
    for name, signs in fresh.get_params().items():
        if name in _MONOTONE and isinstance(signs, Mapping):
            fresh.set_params(**{name: [signs[c] for _, _, columns in kept for c in columns]})
    return fresh.set_params(prepare__transformers=kept)


def _require_classes(estimator: Any, labels: NDArray[Any]) -> None:
    """Refuse labels on which a classifier would fail less clearly, or fit without meaning."""
    if isinstance(estimator, DummyClassifier) or not hasattr(estimator, "predict_proba"):
        return
    if len(classes := pd.unique(labels)) < 2:
        only = f"all of class {classes[0]}" if len(classes) else "none"
        raise TrainingFailed(
            f"a classifier needs two classes; the {len(labels):,} labels to train on are {only}; "
            "wait for more history, or check ingest.label"
        )
