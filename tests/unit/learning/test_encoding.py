"""Fits and predictions chunk by chunk are those of scikit-learn's pipeline on the whole frame, bit for bit."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from tests.unit.learning.test_learning import FAMILIES, SCHEMA, SMALL, labels, rows
from trueup.config.tasks import Task
from trueup.domain.features import chunks
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import build, defaults, fit, predict, predict_each, prior_model, simple_model
from trueup.domain.learning.recipe import Recipe

TREES = ("gradient_boosting", "forest")


class Parts:
    """Rows in frames with categories of their own, as batches have."""

    def __init__(self, frame, size):
        self.parts = [frame.iloc[start : start + size].reset_index(drop=True) for start in range(0, len(frame), size)]
        for part in self.parts:
            for column in part.select_dtypes("category"):
                part[column] = part[column].cat.remove_unused_categories()

    def __len__(self):
        return sum(map(len, self.parts))

    @property
    def columns(self):
        return list(self.parts[0])

    def frame(self):
        return pd.concat(self.parts, ignore_index=True)

    def take(self, positions):
        return self.frame().take(positions)

    def chunks(self, columns=None):
        return iter(self.parts if columns is None else [part[list(columns)] for part in self.parts])


def state(value):
    """Everything that an object holds, as plain values: numbers as their bytes."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, np.ndarray | list | tuple):
        return [state(v) for v in value]
    if isinstance(value, np.random.Generator):
        return state(value.bit_generator.state)
    if isinstance(value, dict):
        return {str(k): state(v) for k, v in value.items()}
    if hasattr(value, "__getstate__") and not isinstance(value, type) and (inner := value.__getstate__()) is not None:
        return type(value).__name__, state(inner)
    return type(value).__name__ if type(value).__repr__ is object.__repr__ else repr(value)


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 64)


def recipe(family, task):
    return Recipe(family, {**defaults(family, task), **SMALL[family]}, 7)


def many(n=300):
    """Rows with a rare category that comes late, and text that is no category."""
    X, signal = rows(n)
    codes = X["carrier"].cat.codes.to_numpy().copy()
    codes[-2:] = 4
    X["carrier"] = pd.Categorical.from_codes(codes, list("DACBE"))
    X["blank"] = pd.Series(np.where(np.arange(n) % 3, "late", None), dtype=object)
    return X, signal


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("family", TREES)
def test_a_fit_in_chunks_is_the_pipelines_own_fit(family, task):
    X, signal = many()
    y, weights = labels(task, signal), np.linspace(0.5, 1, len(X))
    used = FeatureSchema(("speed", "gust"), SCHEMA.categorical)
    plain = clone(build(recipe(family, task), used, task)).fit(X, np.asarray(y), model__sample_weight=weights)
    for given in (X, Parts(X, 77)):
        fitted = fit(build(recipe(family, task), used, task), given, y, weights=weights)
        assert state(fitted) == state(plain)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize(
    ("task", "y", "own"),
    [
        (Task.BINARY, lambda s: (s > s.quantile(0.9)).astype(int), {"class_weight": "balanced"}),
        (Task.MULTICLASS, lambda s: pd.cut(s, 3, labels=list("zyx")).astype(str), {"class_weight": {"x": 9.0}}),
        (Task.REGRESSION, lambda s: s.clip(lower=s.iloc[:2].max()) - s.iloc[:2].max(), {"objective": "poisson"}),
    ],
    ids=["balanced", "weights by class", "counts that begin with 0"],
)
def test_lightgbms_parameters_count_in_chunks_too(task, y, own, weighted):
    X, signal = many(500)
    y, weights = y(pd.Series(signal)), np.linspace(0.5, 1, len(X)) if weighted else None
    made = recipe("lightgbm", task)
    made.parameters.update(own)
    whole, parts = (fit(build(made, SCHEMA, task), given, y, weights=weights) for given in (X, Parts(X, 77)))
    assert whole[-1].booster_.model_to_string() == parts[-1].booster_.model_to_string()


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("task", Task)
def test_lightgbm_is_the_same_model_from_chunks_and_from_one_matrix(task, weighted):
    X, signal = many(2_000)
    weights = np.linspace(0.5, 1, len(X)) if weighted else None
    made = recipe("lightgbm", task)
    made.parameters["subsample_for_bin"] = 400  # of a drawn part of the rows, as on large tables
    whole, parts = (
        fit(build(made, SCHEMA, task), given, labels(task, signal), weights=weights) for given in (X, Parts(X, 77))
    )
    assert whole[-1].booster_.model_to_string() == parts[-1].booster_.model_to_string()
    np.testing.assert_array_equal(predict(whole, X, task), predict(parts, X, task))
    assert state(
        {k: v for k, v in vars(whole[-1]).items() if k not in ("_Booster", "_evals_result", "_best_score")}
    ) == (state({k: v for k, v in vars(parts[-1]).items() if k not in ("_Booster", "_evals_result", "_best_score")}))


def test_lightgbm_sends_values_that_were_never_missing_with_most_rows():
    X = pd.DataFrame({"speed": np.append(np.full(300, 9.0), np.full(100, 12.0))})  # nothing is near 0
    fitted = fit(
        build(recipe("lightgbm", Task.REGRESSION), FeatureSchema(("speed",), ()), Task.REGRESSION), X, X["speed"]
    )
    few, most, missing = predict(fitted, pd.DataFrame({"speed": [12.0, 9.0, np.nan]}), Task.REGRESSION)
    assert missing == most != few
    fitted = fit(
        build(recipe("lightgbm", Task.REGRESSION), FeatureSchema(("speed",), ()), Task.REGRESSION), -X, X["speed"]
    )
    assert len(set(predict(fitted, pd.DataFrame({"speed": [np.nan, -9.0]}), Task.REGRESSION))) == 1


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("family", TREES)
def test_columns_without_values_are_found_over_all_chunks(family):
    X, signal = rows()
    X.loc[X.index < 200, "gust"] = np.nan  # a value only in the last chunks
    y = labels(Task.BINARY, signal)
    whole, parts = (fit(build(recipe(family, Task.BINARY), SCHEMA, Task.BINARY), g, y) for g in (X, Parts(X, 77)))
    assert state(whole) == state(parts)
    assert [list(c) for _, _, c in parts[0].transformers] == [["speed", "gust"], ["carrier"]]


@pytest.mark.slow
@pytest.mark.parametrize("task", Task)
@pytest.mark.parametrize("family", FAMILIES)
def test_predictions_in_chunks_are_those_of_the_whole_frame(family, task, monkeypatch):
    X, signal = rows(1_000)
    model = fit(build(recipe(family, task), SCHEMA, task), X, labels(task, signal))
    whole = predict(model, X, task)
    monkeypatch.setattr(chunks, "CHUNK", 64)
    np.testing.assert_array_equal(predict(model, X, task), whole)
    by_row = family != "linear" or task is Task.MULTICLASS
    for size in (64, 128, 77, 1) if by_row else (64, 128):  # a row of a file is never elsewhere in its chunk
        np.testing.assert_array_equal(predict(model, Parts(X, size), task), whole)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("task", Task)
def test_the_baselines_from_chunks_are_those_of_the_whole_frame(task):
    X, signal = rows(300)
    y, given = labels(task, signal), (X, Parts(X, 64))
    simple = [fit(simple_model(SCHEMA, task), part, y, at_most=200, seed=3) for part in given]
    assert state(simple[0]) == state(simple[1])
    prior = build(Recipe("prior", {}, 0), FeatureSchema(("speed", "gust"), ("carrier",)), task)  # all have values
    whole = clone(prior).fit(X, np.asarray(y))
    for model in (prior, prior_model(task)):
        fitted = [fit(model, part, y) for part in given]
        assert state(fitted[0]) == state(fitted[1])
        both = predict_each({"simple": simple[0], "prior": fitted[1]}, Parts(X, 64), task)
        np.testing.assert_array_equal(both["prior"], predict(whole, X, task))
        np.testing.assert_array_equal(both["simple"], predict(simple[0], X, task))
    assert state(fit(prior, Parts(X, 64), y)) == state(whole)


def test_a_thinned_fit_takes_chunks():
    X, signal = rows()
    y = labels(Task.BINARY, signal)
    one, other = (fit(simple_model(SCHEMA, Task.BINARY), given, y, at_most=50) for given in (X, Parts(X, 77)))
    np.testing.assert_array_equal(predict(one, X, Task.BINARY), predict(other, X, Task.BINARY))


@pytest.mark.parametrize("task", Task)
def test_a_linear_model_of_many_columns_predicts_many_rows_like_the_pipeline_itself(task, monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 1024)
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(5_003, 40)), columns=[f"n{i}" for i in range(40)])
    X["town"] = pd.Categorical(rng.integers(0, 60, len(X)).astype(str))
    model = fit(simple_model(FeatureSchema(tuple(X.columns[:-1]), ("town",)), task), X, labels(task, X["n0"] + X["n1"]))
    with threadpool_limits(1):
        plain = model.predict(X) if task is Task.REGRESSION else model.predict_proba(X)
    np.testing.assert_array_equal(predict(model, X, task), plain[:, 1] if task is Task.BINARY else plain)
