"""Contributions are Shapley values: what fast ways compute is what all subsets of the features give."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.adapters.onnx.trees import Tree
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.encoding import columns_of, matrix_of
from trueup.domain.learning.learning import build, defaults, fit, predict, prior_model
from trueup.domain.learning.recipe import Recipe
from trueup.explain.contributions import Mixed, parts_of
from trueup.explain.scores import score_of
from trueup.explain.shapley import additive, enumerated, sampled
from trueup.explain.tree_shap import shapley_values

SCHEMA = FeatureSchema(("a", "b", "c"), ("d",))
SMALL = {
    "gradient_boosting": {"max_iter": 8, "min_samples_leaf": 5, "learning_rate": 0.3},
    "forest": {"n_estimators": 6, "max_depth": 5, "min_samples_leaf": 2},
    "lightgbm": {"n_estimators": 8, "min_child_samples": 5},
    "linear": {},
}
CASES = [(family, task) for family in SMALL for task in (Task.BINARY, Task.MULTICLASS, Task.REGRESSION)]


def rows(seed, n):
    """Numbers and a category, with missing ones of each, and with values on thresholds."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({name: rng.normal(size=n).round(1) for name in "abc"})
    frame["d"] = pd.Categorical(rng.choice(["x", "y", "z"], n))
    frame.loc[rng.random(n) < 0.2, "b"] = np.nan
    frame.loc[rng.random(n) < 0.1, "d"] = None
    return frame


def outcomes(frame, task, seed):
    rng = np.random.default_rng(seed + 1)
    raw = frame["a"] * frame["b"].fillna(1) + (frame["d"] == "x") + 0.3 * rng.normal(size=len(frame))
    if task is Task.REGRESSION:
        return raw.to_numpy()
    codes = np.digitize(raw, [0.0] if task is Task.BINARY else [-0.3, 0.5])
    return codes if task is Task.BINARY else np.array(["low", "mid", "high"])[codes]


def fitted_on(frame, family, task, seed=0, **parameters):
    recipe = Recipe(family, {**defaults(family, task), **SMALL[family], **parameters}, seed)
    return fit(build(recipe, SCHEMA, task), frame, outcomes(frame, task, seed))


def brute_force(score, row, background):
    return enumerated(Mixed(score, row, background), len(row.columns), len(background))


@pytest.mark.property
@pytest.mark.parametrize(("family", "task"), CASES)
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_fast_way_of_each_family_is_what_all_subsets_give(family, task, seed):
    frame = rows(seed, 150)
    fitted = fitted_on(frame, family, task, seed)
    row, background = rows(seed + 1, 1), frame.iloc[:12]
    target = str(fitted.classes_[-1]) if task is Task.MULTICLASS else None
    score = score_of(fitted, target)
    names, contributions, errors, method = parts_of(fitted, score, row, background)
    assert "exact" in method
    assert errors is None
    expected = dict(zip(row.columns, brute_force(score, row, background), strict=True))
    assert dict(zip(names, contributions, strict=True)) == pytest.approx(expected, abs=1e-9)
    assert contributions.sum() == pytest.approx(score.of(row)[0] - score.of(background).mean(), abs=1e-9)


@pytest.mark.parametrize("family", SMALL)
def test_a_new_category_and_a_value_that_was_never_missing_are_explained(family):
    frame = rows(8, 200).assign(b=lambda rows: rows["a"] - rows["c"])
    fitted = fitted_on(frame, family, Task.BINARY)
    row = frame.iloc[:1].assign(a=0.0, b=np.nan, d=pd.Categorical(["new"]))
    score, background = score_of(fitted, None), frame.iloc[1:20]
    names, contributions, _, _ = parts_of(fitted, score, row, background)
    expected = dict(zip(row.columns, brute_force(score, row, background), strict=True))
    assert dict(zip(names, contributions, strict=True)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("family", "task"), [(f, t) for f, t in CASES if t is not Task.MULTICLASS])
def test_a_score_is_the_prediction_on_its_scale(family, task):
    frame = rows(3, 200)
    fitted = fitted_on(frame, family, task)
    score, predicted = score_of(fitted, None), predict(fitted, frame, task)
    back = {"log-odds": lambda s: 1 / (1 + np.exp(-s)), "value": lambda s: s, "probability": lambda s: s}[score.scale]
    assert back(score.of(frame)) == pytest.approx(predicted, abs=1e-12)


def test_a_log_link_is_explained_on_its_logs():
    frame = rows(4, 200)
    recipe = Recipe("gradient_boosting", {**defaults("gradient_boosting", Task.REGRESSION), "loss": "poisson"}, 0)
    fitted = fit(build(recipe, SCHEMA, Task.REGRESSION), frame, np.exp(outcomes(frame, Task.REGRESSION, 4)))
    score = score_of(fitted, None)
    assert score.scale == "log of the value"
    _, contributions, _, _ = parts_of(fitted, score, frame.iloc[:1], frame.iloc[1:30])
    gain = np.log(fitted.predict(frame.iloc[:1]))[0] - np.log(fitted.predict(frame.iloc[1:30])).mean()
    assert contributions.sum() == pytest.approx(gain, abs=1e-9)


def test_trees_that_are_averaged_are_explained_from_all_subsets():
    frame = rows(5, 200)
    averaged = {"boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}
    fitted = fitted_on(frame, "lightgbm", Task.BINARY, **averaged)
    score = score_of(fitted, None)
    names, contributions, _, method = parts_of(fitted, score, frame.iloc[:1], frame.iloc[1:10])
    assert (score.scale, method) == ("probability", "all subsets of the features, exact")
    assert contributions.sum() == pytest.approx(
        score.of(frame.iloc[:1])[0] - score.of(frame.iloc[1:10]).mean(), abs=1e-9
    )
    assert names == list(frame.columns)


def test_a_wide_model_without_trees_gets_estimates_with_their_errors():
    rng = np.random.default_rng(7)
    names = tuple("abcdefghijkl")
    frame = pd.DataFrame(rng.normal(size=(300, len(names))), columns=list(names))
    labels = (frame["a"] * frame["b"] + frame["c"] > 0).astype(int).to_numpy()
    averaged = {**SMALL["lightgbm"], "boosting_type": "rf", "subsample": 0.5, "subsample_freq": 1}
    recipe = Recipe("lightgbm", {**defaults("lightgbm", Task.BINARY), **averaged}, 0)
    fitted = fit(build(recipe, FeatureSchema(names, ()), Task.BINARY), frame, labels)
    score, row, background = score_of(fitted, None), frame.iloc[:1], frame.iloc[1:6]
    found, contributions, errors, method = parts_of(fitted, score, row, background)
    exact = brute_force(score, row, background)
    assert method == "an estimate from 40 orders of the features"
    assert found == list(names)
    assert contributions.sum() == pytest.approx(exact.sum(), abs=1e-9)
    assert np.mean(np.abs(contributions - exact) <= 2 * errors) >= 0.8  # a rare interaction may be in no order
    assert errors.max() > 0


def test_a_constant_has_no_contributions():
    frame = rows(6, 50)
    fitted = fit(prior_model(Task.BINARY), frame, outcomes(frame, Task.BINARY, 6))
    _, contributions, _, _ = parts_of(fitted, score_of(fitted, None), frame.iloc[:1], frame)
    assert not contributions.any()


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_all_subsets_give_the_mean_gain_over_all_orders(seed):
    """Shapley's definition, of an arbitrary game of four players."""
    value = np.random.default_rng(seed).normal(size=(3, 16))
    contributions = enumerated(lambda masks, places: value[places, masks @ [1, 2, 4, 8]], 4, 3)
    gains = np.zeros(4)
    for order in permutations(range(4)):
        members = 0
        for player in order:
            gains[player] += (value[:, members | 1 << player] - value[:, members]).mean() / 24
            members |= 1 << player
    assert contributions == pytest.approx(gains, abs=1e-12)


def test_an_estimate_adds_up_and_tells_its_error():
    """Of 200 contributions about 95 % are within two standard errors; the errors of few orders are rough themselves."""
    within = []
    for seed in range(40):
        value = np.random.default_rng(seed).normal(size=(6, 32))
        game = lambda masks, places, value=value: value[places, masks @ [1, 2, 4, 8, 16]]  # noqa: E731
        exact = enumerated(game, 5, 6)
        estimate, errors = sampled(game, 5, 6, 8, seed)
        assert estimate.sum() == pytest.approx(exact.sum(), abs=1e-12)
        within += (np.abs(estimate - exact) <= 2 * errors).tolist()
    assert 0.9 <= np.mean(within) <= 0.99


def test_a_sum_of_terms_is_exact_with_its_columns_one_by_one():
    terms, others = np.array([1.0, -2.0, 0.5]), np.random.default_rng(0).normal(size=(7, 3))
    score = lambda masks, places: np.where(masks, terms, others[places]).sum(axis=1)  # noqa: E731
    assert additive(score, 3, 7) == pytest.approx(terms - others.mean(axis=0))


def test_more_columns_than_bits_of_a_word():
    """Two splits on columns in different words: (x0 <= 0) and (x70 <= 0) together add 1."""
    tree = Tree(
        feature=np.array([0, 70, 0, 0, 0]),
        threshold=np.zeros(5),
        left=np.array([1, 3, 0, 0, 0]),
        right=np.array([2, 4, 0, 0, 0]),
        missing_left=np.zeros(5, dtype=bool),
        leaf=np.array([False, False, True, True, True]),
        values=np.array([[0.0], [0.0], [0.0], [1.0], [0.0]]),
    )
    row, background = np.full(71, -1.0), np.ones((3, 71))
    contributions = shapley_values([tree, replace(tree, values=2 * tree.values)], row, background)
    assert contributions[[0, 70]].tolist() == [1.5, 1.5]
    assert not np.delete(contributions, [0, 70]).any()
    assert not shapley_values([], row, background).any()


@pytest.mark.thorough
def test_a_large_forest_takes_seconds():
    frame = pd.concat([rows(seed, 4000) for seed in range(5)], ignore_index=True)
    recipe = Recipe("forest", {**defaults("forest", Task.BINARY), "max_depth": 20, "min_samples_leaf": 2}, 0)
    fitted = fit(build(recipe, SCHEMA, Task.BINARY), frame, outcomes(frame, Task.BINARY, 0))
    score = score_of(fitted, None)
    _, contributions, _, _ = parts_of(fitted, score, frame.iloc[:1], frame.iloc[100:200])
    gain = score.of(frame.iloc[:1])[0] - score.of(frame.iloc[100:200]).mean()
    assert contributions.sum() == pytest.approx(gain, abs=1e-9)
    assert columns_of(fitted[0]) == list(SCHEMA.names)
    assert matrix_of(fitted[0], frame.iloc[:1], np.float32).shape == (1, 4)
