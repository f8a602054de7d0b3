"""Forms predict like their pipelines, whatever the columns hold: drawn by Hypothesis."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adapters.onnx import pipelines
from tests.adapters.onnx.test_exporter import answered
from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import read_form
from trueup.adapters.onnx.judged_rows import judged_rows, parity_rows
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning import learning

ROWS = 240
_number = st.one_of(st.sampled_from([0.0, -0.0, 0.1, 1 / 3, 1e-300, 2**53 + 0.0, 1e15]), st.floats(-1e6, 1e6))
_text = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=4)


@st.composite
def number_columns(draw):
    """Values of a column of numbers: many or few distinct ones, one only, with gaps, or none; float32 or float64."""
    values = draw(st.lists(_number, min_size=1, max_size=draw(st.sampled_from([1, 3, 40]))))
    dtype = draw(st.sampled_from([np.float64, np.float32]))
    return np.array(values, dtype=dtype), draw(st.sampled_from([0, 0, 0.2, 0.9, 1]))


@st.composite
def category_columns(draw):
    """Categories: a few texts, a constant, truth values, or more than a linear model has columns for; some missing."""
    kind = draw(st.sampled_from(["few", "truths", "many"]))
    if kind == "truths":
        values = ["true", "false"]
    elif kind == "many":
        values = [f"c{i}" for i in range(50)]
    else:
        values = draw(st.lists(_text, min_size=1, max_size=5, unique=True))
    return values, draw(st.sampled_from([0, 0, 0.3, 1]))


def frame(numbers, categories, seed):
    rng = np.random.default_rng(seed)
    columns = {}
    for place, (values, missing) in enumerate(numbers):
        column = rng.choice(values, ROWS)
        column[rng.random(ROWS) < missing] = np.nan
        columns[f"n{place}"] = column
    for place, (values, missing) in enumerate(categories):
        weights = 1.0 / np.arange(1, len(values) + 1)  # the last ones are rare
        column = rng.choice(np.array(values, dtype=object), ROWS, p=weights / weights.sum())
        column[rng.random(ROWS) < missing] = None
        columns[f"c{place}"] = pd.Categorical(column)
    return pd.DataFrame(columns)


def labels(X, task, seed):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=len(X))
    for name in X:
        codes, _ = pd.factorize(X[name])
        noise = noise + np.sin(codes + len(name))
    noise = noise - np.median(noise)
    if task is Task.REGRESSION:
        return noise * 100
    return (noise > 0).astype(int) if task is Task.BINARY else np.array(["a", "b", "c"])[np.digitize(noise, [-1, 1])]


@pytest.mark.parametrize("family", ["gradient_boosting", "forest", "linear"])
@given(
    task=st.sampled_from(Task),
    numbers=st.lists(number_columns(), min_size=1, max_size=4),
    categories=st.lists(category_columns(), max_size=3),
    seed=st.integers(0, 2**16),
)
def test_a_form_predicts_like_its_pipeline(family, task, numbers, categories, seed):
    X = frame(numbers, categories, seed)
    names = [name for name in X if X[name].notna().any()]
    if not names:
        return  # nothing to learn from
    schema = FeatureSchema(*(tuple(c for c in X if c.startswith(kind)) for kind in "nc"))
    size = {"gradient_boosting": {"max_iter": 4, "min_samples_leaf": 5}, "forest": {"n_estimators": 3}}.get(family, {})
    fitted = pipelines.fit(family, task, X, labels(X, task, seed), schema, **size)
    form = to_onnx(fitted, pipelines.dtypes(X), task)
    assert {i.name for i in form.inputs} == set(names)
    for rows in (judged_rows(fitted, form, X, seed), parity_rows(fitted, form, X, seed), X[list(reversed(X.columns))]):
        difference = pipelines.apart(answered(form, rows), learning.predict(fitted, rows, task))
        assert difference <= form.tolerance
    assert read_form(form.graph).graph == form.graph
