"""LightGBM on two workers of a real cluster: each kind of task is about as good as in one process, and fits again to the bit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from tests import clusters
from trueup.adapters.dask.cluster import Cluster
from trueup.adapters.fit_cache import Fits
from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import encode
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning.learning import build, defaults, predict
from trueup.domain.learning.recipe import Recipe

NUMBERS = tuple("abcdef")
SCHEMA = FeatureSchema(NUMBERS, ("kind",))
TRAINED = 6_000

CASES = {
    "binary": (Task.BINARY, {}, False),
    "binary, weights": (Task.BINARY, {}, True),
    "binary, class weights": (Task.BINARY, {"class_weight": "balanced"}, True),
    "multiclass": (Task.MULTICLASS, {}, False),
    "multiclass, weights": (Task.MULTICLASS, {"class_weight": {"high": 3.0}}, True),
    "regression": (Task.REGRESSION, {}, False),
    "regression, weights": (Task.REGRESSION, {}, True),
    "counts": (Task.REGRESSION, {"objective": "poisson"}, False),
}


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    X = pd.DataFrame(rng.normal(size=(9_000, len(NUMBERS))), columns=list(NUMBERS))
    X.loc[rng.random(len(X)) < 0.1, "c"] = np.nan
    X["kind"] = pd.Categorical(rng.choice(["u", "v", "w"], len(X)))
    return X


@pytest.fixture(scope="module")
def score(table):
    noise = np.random.default_rng(6).normal(size=len(table)) / 2
    return table["a"] * table["b"] + table["d"] * (table["kind"] == "u") + table["c"].fillna(0) + noise


def labels(task: Task, parameters: dict[str, object], score: pd.Series) -> np.ndarray:
    if parameters.get("objective") == "poisson":
        counts = score.clip(lower=0).round().to_numpy()
        counts[:2] = 0  # LightGBM refuses rows without any count, and two are enough to learn the parameters
        return counts
    if task is Task.BINARY:
        return (score > 1).astype(int).to_numpy()
    if task is Task.MULTICLASS:
        return pd.cut(score, [-np.inf, -0.5, 1, np.inf], labels=["low", "mid", "high"]).astype(str).to_numpy()
    return score.to_numpy()


@pytest.fixture(scope="module")
def fits():
    with clusters.running(2, processes=True) as two:
        clusters.wait_until(lambda: len(two.scheduler_info["workers"]) == 2)
        cluster = Cluster(two.scheduler_address, plain_fits=True)
        yield Fits(cluster)
        cluster.close()


@pytest.mark.thorough
@pytest.mark.parametrize(("task", "own", "weighted"), CASES.values(), ids=CASES)
def test_a_fit_on_two_workers_is_about_as_good_as_here_and_can_be_exported_and_repeated(
    task, own, weighted, table, score, fits
):
    y, later = labels(task, own, score), table[TRAINED:]
    weights = 0.5 ** (np.arange(TRAINED)[::-1] / 2_000) if weighted else None
    recipe = Recipe("lightgbm", {**defaults("lightgbm", task), "n_estimators": 80, "num_leaves": 8, **own}, 3)

    def fitted(workers: int | None, weights: np.ndarray | None = weights, recipe: Recipe = recipe):
        return fits.fit(build(recipe, SCHEMA, task), table[:TRAINED], y[:TRAINED], weights=weights, workers=workers)

    def loss(model) -> float:
        return float(row_losses(task, y[TRAINED:], predict(model, later, task), names(model)).mean())

    def names(model) -> list[str] | None:
        return list(model.classes_) if task is Task.MULTICLASS else None

    def text(model) -> str:
        return model[-1].booster_.model_to_string()

    here, there = fitted(None), fitted(2)
    assert text(there) != text(here), "it was not fitted by the workers"
    assert text(fitted(2)) == text(there)
    assert names(there) == names(here)
    assert loss(there) == pytest.approx(loss(here), rel=0.05)
    # Both are far from a model that learned nothing, and weights of rows and classes move the mean as they do here.
    shuffled = np.random.default_rng(0).permutation(len(later))
    assert loss(there) < 0.9 * float(
        row_losses(task, y[TRAINED:], predict(there, later.iloc[shuffled], task), names(there)).mean()
    )
    means = [predict(model, later, task).mean(axis=0) for model in (here, there)]
    np.testing.assert_allclose(means[1], means[0], rtol=0.05, atol=0.03)
    if weights is not None:
        assert text(fitted(2, weights=None)) != text(there)
    if own:
        plain = Recipe("lightgbm", {k: v for k, v in recipe.parameters.items() if k not in own}, 3)
        assert text(fitted(2, recipe=plain)) != text(there)

    form = to_onnx(there, dict(table.dtypes.astype(str)), task)
    session = onnxruntime.InferenceSession(form.graph)
    answered = session.run(None, {"features": encode(form.inputs, later)})[0]
    expected = predict(there, later, task)
    np.testing.assert_allclose(
        answered if form.classes else answered[:, 0], expected, rtol=form.tolerance, atol=form.tolerance
    )
