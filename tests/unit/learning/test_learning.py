"""Every family and task: fits, survives what features may hold, repeats itself, and loads without a class of our own."""

from functools import lru_cache

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn import inspection
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline

from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.judging.metrics import row_losses
from trueup.domain.learning import families
from trueup.domain.learning.learning import (
    build,
    defaults,
    fit,
    permutation_importance,
    predict,
    prior_model,
    problems,
    simple_model,
    space,
)
from trueup.domain.learning.recipe import TRUSTED_TYPES, Choice, Float, Int, Recipe
from trueup.domain.records import from_plain, to_plain
from trueup.errors import TrainingFailed

FAMILIES = ("gradient_boosting", "linear", "forest", "lightgbm")
SCHEMA = FeatureSchema(("speed", "gust", "never"), ("carrier", "blank"))
SMALL = {
    "gradient_boosting": {"max_iter": 10},
    "forest": {"n_estimators": 5},
    "linear": {},
    "lightgbm": {"n_estimators": 10},
}
everything = pytest.mark.parametrize(("family", "task"), [(f, t) for f in FAMILIES for t in Task])


def rows(n=300, seed=0):
    """Feature rows that carry a signal, with gaps, and two columns that never have a value."""
    rng = np.random.default_rng(seed)
    speed, carrier = rng.normal(size=n), rng.integers(0, 4, n)
    X = pd.DataFrame(
        {
            "row_id": np.arange(n),
            "event_time": pd.Timestamp("2013-01-01") + pd.to_timedelta(np.arange(n), "h"),
            "speed": speed,
            "gust": np.where(rng.random(n) < 0.2, np.nan, rng.normal(size=n)).astype(np.float32),
            "never": np.nan,
            "carrier": pd.Categorical.from_codes(np.where(rng.random(n) < 0.1, -1, carrier), list("ABCD")),
            "blank": pd.Categorical([None] * n),
        }
    )
    return X, speed + (carrier == 2) + rng.normal(scale=0.5, size=n)


def labels(task, signal):
    if task is Task.BINARY:
        return pd.Series((signal > 0.3).astype(float))
    if task is Task.MULTICLASS:
        return pd.Series(np.array(["high", "low", "middle"])[np.digitize(-signal, [-0.7, 0.2]) * 2 % 3])
    return pd.Series(signal)


@lru_cache
def fitted(family, task, seed=0, n=300):
    X, signal = rows(n)
    recipe = Recipe(family, {**defaults(family, task), **SMALL[family]}, seed)
    return fit(build(recipe, SCHEMA, task), X, labels(task, signal))


@pytest.mark.slow
@everything
def test_learns_the_signal(family, task):
    X, signal = rows(1500)
    y = labels(task, signal)
    recipe = Recipe(family, defaults(family, task))
    model, prior = fit(build(recipe, SCHEMA, task), X, y), fit(prior_model(task), X, y)
    new, new_signal = rows(500, seed=1)
    truth = labels(task, new_signal)
    classes = list(model.classes_) if task is Task.MULTICLASS else None
    learned, known = (row_losses(task, truth, predict(m, new, task), classes).mean() for m in (model, prior))
    assert learned < 0.85 * known


@everything
def test_predicts_what_training_never_saw(family, task):
    model = fitted(family, task)
    X, _ = rows(20, seed=2)
    strange = X.assign(
        carrier=pd.Categorical(["new"] * 20),  # an unknown category
        blank=pd.Categorical(["x"] * 20),  # a value in a column that never had one
        speed=np.nan,  # nothing in a column that always had one
        never=1.0,
    )
    p = predict(model, strange, task)
    assert p.shape == ((20, 3) if task is Task.MULTICLASS else (20,))
    assert np.isfinite(p).all()
    if task is not Task.REGRESSION:
        assert ((p >= 0) & (p <= 1)).all()
    if task is Task.MULTICLASS:
        np.testing.assert_allclose(p.sum(axis=1), 1)


@everything
def test_an_unknown_category_is_the_same_as_another_unknown_one(family, task):
    model, (X, _) = fitted(family, task), rows(10, seed=3)
    one, other = (predict(model, X.assign(carrier=pd.Categorical([c] * 10)), task) for c in ("new", "newer"))
    np.testing.assert_array_equal(one, other)


@everything
def test_same_rows_and_recipe_give_the_same_model(family, task):
    X, _ = rows(seed=9)
    np.testing.assert_array_equal(*(predict(fitted.__wrapped__(family, task), X, task) for _ in range(2)))


@pytest.mark.parametrize("family", ["gradient_boosting", "forest"])
def test_the_seed_matters(family):
    X, _ = rows()
    assert not np.array_equal(*(predict(fitted(family, Task.BINARY, seed), X, Task.BINARY) for seed in (0, 1)))


@everything
def test_loads_with_the_trusted_types_alone(family, task):
    model, (X, _) = fitted(family, task), rows()
    data = skops.io.dumps(model)
    assert set(skops.io.get_untrusted_types(data=data)) <= set(TRUSTED_TYPES)
    np.testing.assert_array_equal(
        predict(skops.io.loads(data, trusted=list(TRUSTED_TYPES)), X, task), predict(model, X, task)
    )


@pytest.mark.parametrize("task", Task)
def test_reference_models_load_with_the_trusted_types_alone(task):
    X, signal = rows()
    for blank in (simple_model(SCHEMA, task), prior_model(task)):
        model = fit(blank, X, labels(task, signal))
        loaded = skops.io.loads(skops.io.dumps(model), trusted=list(TRUSTED_TYPES))
        np.testing.assert_array_equal(predict(loaded, X, task), predict(model, X, task))


def test_every_trusted_type_is_needed():
    models = [fitted(family, task) for family in FAMILIES for task in Task]
    assert {t for m in models for t in skops.io.get_untrusted_types(data=skops.io.dumps(m))} == set(TRUSTED_TYPES)


def test_a_foreign_type_is_refused():
    X, signal = rows()
    stranger = make_pipeline(KNeighborsClassifier()).fit(X[["speed"]], labels(Task.BINARY, signal))
    data = skops.io.dumps(stranger)
    with pytest.raises(skops.io.exceptions.UntrustedTypesFoundException):
        skops.io.loads(data, trusted=list(TRUSTED_TYPES))


@everything
def test_only_named_columns_count_in_any_order(family, task):
    model, (X, _) = fitted(family, task), rows(30, seed=4)
    turned = X[[*reversed(SCHEMA.names)]].assign(later="unheard of")
    np.testing.assert_array_equal(predict(model, turned, task), predict(model, X, task))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("schema", [FeatureSchema(("speed",), ()), FeatureSchema((), ("carrier",))])
def test_one_kind_of_feature_is_enough(family, schema):
    X, signal = rows()
    recipe = Recipe(family, {**defaults(family, Task.BINARY), **SMALL[family]})
    model = fit(build(recipe, schema, Task.BINARY), X, labels(Task.BINARY, signal))
    assert predict(model, X, Task.BINARY).std() > 0


@everything
def test_no_rows_give_no_predictions(family, task):
    nothing = predict(fitted(family, task), rows(5)[0].iloc[:0], task)
    assert nothing.shape == ((0, 3) if task is Task.MULTICLASS else (0,))


def test_fitting_leaves_the_given_pipeline_as_it_was():
    X, signal = rows()
    blank = build(Recipe("linear", defaults("linear", Task.BINARY)), SCHEMA, Task.BINARY)
    first = fit(blank, X, labels(Task.BINARY, signal))
    again = fit(blank, X.assign(never=signal), labels(Task.BINARY, signal))  # now the column has values
    assert not hasattr(blank[-1], "coef_")
    assert again[-1].coef_.shape[1] == first[-1].coef_.shape[1] + 1


def test_features_without_any_value_cannot_be_trained_on():
    X, signal = rows()
    with pytest.raises(TrainingFailed, match=r"Ridge could not be fitted on 300 rows"):
        fit(simple_model(FeatureSchema(("never",), ("blank",)), Task.REGRESSION), X, labels(Task.REGRESSION, signal))


def test_a_class_the_model_never_saw_has_probability_zero():
    model, (X, _) = fitted("linear", Task.MULTICLASS), rows(8)
    p = predict(model, X, Task.MULTICLASS)
    wider = predict(model, X, Task.MULTICLASS, classes=["high", "late", "low", "middle"])
    np.testing.assert_array_equal(wider[:, 1], 0)
    np.testing.assert_array_equal(np.delete(wider, 1, axis=1), p)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_prior_of_one_class_is_certain(label):
    X, _ = rows(10)
    np.testing.assert_array_equal(predict(fit(prior_model(Task.BINARY), X, [label] * 10), X, Task.BINARY), label)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_class_cannot_be_trained_on(family):
    X, _ = rows()
    with pytest.raises(TrainingFailed, match=r"300 labels to train on are all of class 0.0; wait for more history"):
        fit(build(Recipe(family, defaults(family, Task.BINARY)), SCHEMA, Task.BINARY), X, np.zeros(300))


def test_a_value_that_the_estimator_refuses_is_named():
    X, signal = rows()
    recipe = Recipe("gradient_boosting", {**defaults("gradient_boosting", Task.BINARY), "max_iter": -1})
    with pytest.raises(TrainingFailed, match=r"HistGradientBoostingClassifier .* 300 rows: .*max_iter"):
        fit(build(recipe, SCHEMA, Task.BINARY), X, labels(Task.BINARY, signal))


def test_boosting_uses_every_iteration_on_many_rows():
    X, signal = rows(12_000)  # from 10,000 rows on scikit-learn would stop early by itself
    recipe = Recipe("gradient_boosting", {**defaults("gradient_boosting", Task.BINARY), "max_iter": 25})
    model = fit(build(recipe, SCHEMA, Task.BINARY), X, labels(Task.BINARY, signal))
    assert model[-1].n_iter_ == 25


def test_thinning_is_seeded_and_bounded():
    X, signal = rows()
    y = labels(Task.REGRESSION, signal)
    one, same, other = (
        predict(fit(simple_model(SCHEMA, Task.REGRESSION), X, y, at_most=50, seed=s), X, Task.REGRESSION)
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    few = fit(prior_model(Task.REGRESSION), X, np.arange(300.0), at_most=1, seed=5)
    assert predict(few, X, Task.REGRESSION)[0] in np.arange(300.0)


@pytest.mark.parametrize("family", ["gradient_boosting", "linear", "forest"])
def test_importance_is_that_of_scikit_learn_to_the_bit(family):
    model, (X, signal) = fitted(family, Task.BINARY), rows(seed=5)
    y = labels(Task.BINARY, signal)
    places = np.random.default_rng(0).permutation(len(X))

    def gain(pipeline, shuffled, truth):
        return -row_losses(Task.BINARY, truth, pipeline.predict_proba(shuffled)[:, 1], None).mean()

    inputs = X.iloc[places][list(SCHEMA.names)]
    wanted = inspection.permutation_importance(model, inputs, y[places], scoring=gain, n_repeats=3, random_state=0)
    table = permutation_importance(model, X, y, SCHEMA, Task.BINARY).set_index("feature").loc[list(SCHEMA.names)]
    np.testing.assert_array_equal(table["mean"], wanted.importances_mean)
    np.testing.assert_array_equal(table["high"] - table["mean"] > 0, wanted.importances_std > 0)


def test_importance_finds_the_features_that_matter():
    model, (X, signal) = fitted("gradient_boosting", Task.MULTICLASS, n=1500), rows(800, seed=5)
    table = permutation_importance(model, X, labels(Task.MULTICLASS, signal), SCHEMA, Task.MULTICLASS, rows=400)
    assert list(table["feature"][:2]) == ["speed", "carrier"]
    assert set(table["feature"]) == set(SCHEMA.names)
    assert table["low"][0] > 0
    assert table.set_index("feature")["mean"]["never"] == 0
    again = permutation_importance(model, X, labels(Task.MULTICLASS, signal), SCHEMA, Task.MULTICLASS, rows=400)
    pd.testing.assert_frame_equal(table, again)


@everything
def test_defaults_lie_within_the_space_and_are_known(family, task):
    for name, varied in space(family, task).items():
        assert varied.default in varied
        assert defaults(family, task)[name] == varied.default
    searched = {name: varied.default for name, varied in space(family, task).items()}
    assert problems({family: searched}, task) == []


def test_all_mistakes_in_parameters_are_named_with_their_place():
    fixed = {"linear": {"C": 1, "depth": 3}, "gradient_boosting": {"early_stopping": True, "max_itre": 9}}
    found = [str(mistake) for mistake in problems(fixed, Task.BINARY)]
    assert len(found) == 3
    assert found[0].startswith("train.parameters.linear.depth: LogisticRegression has no such parameter; it has C,")
    assert found[1].startswith("train.parameters.gradient_boosting.early_stopping: cannot be set: ")
    assert found[2].endswith("HistGradientBoostingClassifier has no such parameter; did you mean max_iter?")


def test_a_family_without_its_package_is_named_before_anything_is_read(monkeypatch):
    monkeypatch.setattr(families, "find_spec", lambda _: None)
    fixed = {"lightgbm": {"num_leaves": 7}}
    assert [str(mistake) for mistake in problems(fixed, Task.BINARY, ["linear", "lightgbm"])] == [
        "train.families: the family lightgbm is not installed: pip install 'trueup[lightgbm]', or choose other train.families"
    ]
    with pytest.raises(TrainingFailed, match=r"pip install 'trueup\[lightgbm\]'"):
        build(Recipe("lightgbm", {}), SCHEMA, Task.BINARY)


def test_lightgbms_own_parameters_can_be_fixed():
    fixed = {"lightgbm": {"monotone_constraints": {"gust*": 1}, "max_bin": 63, "n_jobs": 2, "max_itre": 9}}
    first, second = (str(mistake) for mistake in problems(fixed, Task.BINARY))
    assert (
        first == "train.parameters.lightgbm.n_jobs: cannot be set: fitting uses one thread, so that it can be repeated"
    )
    assert second.startswith("train.parameters.lightgbm.max_itre: LGBMClassifier has no such parameter")


@pytest.mark.parametrize(
    ("family", "name"), [("gradient_boosting", "monotonic_cst"), ("lightgbm", "monotone_constraints")]
)
def test_patterns_make_features_monotone(family, name):
    X, signal = rows()
    made = build(Recipe(family, {**defaults(family, Task.REGRESSION), name: {"sp*": -1}}), SCHEMA, Task.REGRESSION)
    model = fit(made, X, labels(Task.REGRESSION, signal))  # it rises with the speed, which the pattern forbids
    speeds = X.iloc[[0] * 50].assign(speed=np.linspace(-2, 2, 50))
    assert (np.diff(predict(model, speeds, Task.REGRESSION)) <= 0).all()


@given(st.sampled_from(FAMILIES), st.integers(0, 2**31), st.floats(0.01, 10), st.booleans() | st.none() | st.text())
def test_a_recipe_survives_plain_values(family, seed, number, other):
    recipe = Recipe(family, {"a": number, "b": other}, seed)
    assert from_plain(Recipe, to_plain(recipe)) == recipe


def test_what_lies_in_a_space():
    assert 0.5 in Float(0, 1, default=0.1)
    assert 2 in Int(1, 3, default=1)
    assert 2.5 not in Int(1, 3, default=1)
    assert "x" not in Float(0, 1, default=0.1)
    assert Choice(("a", None)).default == "a"
    assert "b" not in Choice(("a", None))
