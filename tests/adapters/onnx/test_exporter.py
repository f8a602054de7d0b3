"""An ONNX form predicts what scikit-learn does, for every family and task."""

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.adapters.onnx import pipelines
from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import encode, read_form
from trueup.config.sections.features import FeaturesConfig
from trueup.config.tasks import Task
from trueup.domain.features.features import feature_frame, schema_of
from trueup.domain.learning import learning
from trueup.errors import NoExporter

ALL = [(family, task) for family in pipelines.FAMILIES for task in Task]


def answered(form, X):
    session = onnxruntime.InferenceSession(form.graph)
    there = session.run(None, {"features": encode(form.inputs, X)})[0]
    return there if form.classes else there[:, 0]


def difference(fitted, task, X, training):
    form = to_onnx(fitted, pipelines.dtypes(training), task)
    return pipelines.apart(answered(form, X), learning.predict(fitted, X, task)), form


@pytest.mark.parametrize(("family", "task"), ALL)
def test_a_form_predicts_like_the_pipeline(family, task):
    training = pipelines.table(900)
    fitted = pipelines.fit(family, task, training, pipelines.labels(training, task))
    for X in (training, pipelines.messy(400)):
        largest, form = difference(fitted, task, X, training)
        assert largest <= form.tolerance / 10


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("family", ["gradient_boosting", "forest", "linear"])
def test_a_pipeline_of_float32_columns_predicts_the_same(family, task):
    training = pipelines.table(700).astype(dict.fromkeys(pipelines.NUMBERS, np.float32))
    schema = pipelines.FeatureSchema(pipelines.NUMBERS, ())  # then a linear model is float32 throughout
    fitted = pipelines.fit(family, task, training, pipelines.labels(training, task), schema)
    X = pipelines.messy(300).astype(dict.fromkeys(pipelines.NUMBERS, np.float32))
    largest, form = difference(fitted, task, X, training)
    assert largest <= form.tolerance
    wide = X.astype(dict.fromkeys(pipelines.NUMBERS, np.float64))
    assert np.array_equal(encode(form.inputs, wide), encode(form.inputs, X), equal_nan=True)


def test_a_linear_model_of_large_labels_and_float32_columns_has_a_tolerance_that_a_wrong_form_exceeds():
    training = pipelines.table(700).astype(dict.fromkeys(pipelines.NUMBERS, np.float32))
    schema = pipelines.FeatureSchema(pipelines.NUMBERS, ())
    y = 1e6 + 1e4 * pipelines.labels(training, Task.REGRESSION)
    largest, form = difference(
        pipelines.fit("linear", Task.REGRESSION, training, y, schema), Task.REGRESSION, training, training
    )
    assert largest <= form.tolerance <= 0.01


@pytest.mark.parametrize("family", ["gradient_boosting", "forest", "linear"])
def test_a_feature_frame_with_truths_times_and_custom_features(family):
    rng = np.random.default_rng(4)
    rows = pd.DataFrame(
        {
            "row_id": range(300),
            "event_time": pd.date_range("2024-01-01", periods=300, freq="7h"),
            "load": rng.normal(size=300),
            "open": rng.choice([True, False], 300),
            "code": rng.integers(1, 5, 300),
        }
    )
    rows.loc[::7, "load"] = np.nan
    config = FeaturesConfig(
        numeric=["load"], categorical=["open", "code"], calendar={"event_time": ["hour", "weekend", "day_of_year"]}
    )
    frame = feature_frame(rows, rows.head(0), config, custom=lambda r: pd.DataFrame({"double": r["load"] * 2}))
    y = (rows["open"] ^ (rows["event_time"].dt.hour > 12)).astype(int)
    fitted = pipelines.fit(family, Task.BINARY, frame, y, schema_of(frame, config))
    largest, form = difference(fitted, Task.BINARY, frame, frame)
    assert largest <= form.tolerance / 10
    of = {i.name: i for i in form.inputs}
    assert of["open"].categories == ("false", "true")
    assert of["event_time_hour"].dtype == "float32"
    assert of["double"].dtype == "float64"


def test_encode_rounds_a_number_to_the_dtype_of_the_training_frame():
    training = pipelines.table(300)
    form = to_onnx(
        pipelines.fit("linear", Task.BINARY, training, pipelines.labels(training, Task.BINARY)),
        pipelines.dtypes(training),
        Task.BINARY,
    )
    X = pipelines.table(2).assign(narrow=[0.1, 1e300], price=[0.1, None])
    encoded = dict(zip([i.name for i in form.inputs], encode(form.inputs, X).T, strict=True))
    assert encoded["narrow"].tolist() == [float(np.float32(0.1)), np.inf]
    assert encoded["price"][0] == 0.1
    assert np.isnan(encoded["price"][1])


@pytest.mark.parametrize("family", ["gradient_boosting", "forest", "linear", "prior"])
def test_a_multiclass_model_that_saw_two_classes(family):
    training = pipelines.table(400)
    y = np.where(training["flag"] == "true", "yes", "no")
    largest, form = difference(
        pipelines.fit(family, Task.MULTICLASS, training, y), Task.MULTICLASS, pipelines.messy(200), training
    )
    assert form.classes == ("no", "yes")
    assert largest <= form.tolerance / 10


@pytest.mark.parametrize("label", [0, 1])
def test_a_constant_of_one_class(label):
    training = pipelines.table(50)
    fitted = pipelines.fit("prior", Task.BINARY, training, np.full(50, label))
    largest, _ = difference(fitted, Task.BINARY, training, training)
    assert largest == 0
    bare = make_pipeline(DummyClassifier(strategy="prior")).fit(training, np.full(50, label))
    form = to_onnx(bare, {}, Task.BINARY)
    assert form.inputs == ()
    assert answered(form, training).tolist() == [label] * 50


@pytest.mark.parametrize("family", ["gradient_boosting", "forest"])
@pytest.mark.parametrize("task", list(Task))
def test_trees_without_a_split(family, task):
    training = pipelines.table(200)
    fitted = pipelines.fit(family, task, training, pipelines.labels(training, task), min_samples_leaf=200)
    largest, form = difference(fitted, task, training, training)
    assert largest <= form.tolerance / 10


@pytest.mark.parametrize("loss", ["poisson", "gamma", "absolute_error"])
def test_losses_with_a_link(loss):
    training = pipelines.table(500)
    y = np.abs(pipelines.labels(training, Task.REGRESSION)) + 1
    fitted = pipelines.fit("gradient_boosting", Task.REGRESSION, training, y, loss=loss)
    largest, form = difference(fitted, Task.REGRESSION, pipelines.messy(200), training)
    assert largest <= form.tolerance / 10


def test_directions_of_features():
    training = pipelines.table(500)
    fitted = pipelines.fit(
        "gradient_boosting", Task.BINARY, training, pipelines.labels(training, Task.BINARY), monotonic_cst={"pri*": 1}
    )
    largest, form = difference(fitted, Task.BINARY, pipelines.messy(200), training)
    assert largest <= form.tolerance / 10


@pytest.mark.parametrize("unit", [1e-6, 1e9])
@pytest.mark.parametrize("family", ["gradient_boosting", "forest", "linear"])
def test_labels_of_any_size(family, unit):
    training = pipelines.table(500)
    fitted = pipelines.fit(
        family, Task.REGRESSION, training, pipelines.labels(training, Task.REGRESSION) * unit + 3 * unit
    )
    largest, form = difference(fitted, Task.REGRESSION, pipelines.messy(200), training)
    assert largest <= form.tolerance


@pytest.mark.parametrize("family", pipelines.FAMILIES)
def test_the_file_is_the_same_each_time_and_describes_itself(family):
    training = pipelines.table(300)
    fitted = pipelines.fit(family, Task.MULTICLASS, training, pipelines.labels(training, Task.MULTICLASS))
    form, again = (to_onnx(fitted, pipelines.dtypes(training), Task.MULTICLASS) for _ in range(2))
    assert form.graph == again.graph
    reread = read_form(form.graph)
    assert repr(reread.inputs) == repr(form.inputs)  # NaN differs from itself
    assert (reread.classes, reread.tolerance, reread.infinite) == (form.classes, form.tolerance, form.infinite)
    model = onnx.load_from_string(form.graph)
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*model.graph.input, *model.graph.output)
    ]
    assert shapes == [["n", len(form.inputs)], ["n", 3]]
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["features", "prediction"]


def test_no_rows():
    training = pipelines.table(200)
    for family in pipelines.FAMILIES:
        fitted = pipelines.fit(family, Task.MULTICLASS, training, pipelines.labels(training, Task.MULTICLASS))
        form = to_onnx(fitted, pipelines.dtypes(training), Task.MULTICLASS)
        assert answered(form, training.head(0)).shape == (0, 3)


def test_other_pipelines_are_refused_with_a_reason():
    X = pipelines.table(60)[["price", "narrow"]]
    y = np.arange(60) % 2
    with pytest.raises(
        NoExporter, match=r"GaussianNB has no ONNX exporter; if the model needs an ONNX form, choose another"
    ):
        to_onnx(make_pipeline(GaussianNB()).fit(X, y), {}, Task.BINARY)
    fitted = pipelines.fit("gradient_boosting", Task.BINARY, X, y, pipelines.FeatureSchema(("price", "narrow"), ()))
    scaled = Pipeline([("scale", StandardScaler()), ("model", fitted[-1])])
    with pytest.raises(NoExporter, match="StandardScaler in the pipeline has no ONNX exporter"):
        to_onnx(scaled, {}, Task.BINARY)
    with pytest.raises(NoExporter, match="strategy uniform"):
        to_onnx(make_pipeline(DummyClassifier(strategy="uniform")).fit(X, y), {}, Task.BINARY)


def test_a_file_that_is_no_form_is_refused():
    training = pipelines.table(60)
    fitted = pipelines.fit("prior", Task.BINARY, training, np.arange(60) % 2)
    model = onnx.load_from_string(to_onnx(fitted, {}, Task.BINARY).graph)
    model.metadata_props[0].value = "{}"
    for content in (b"", b"no graph", model.SerializeToString()):
        with pytest.raises(NoExporter, match=r"model\.onnx is no ONNX form of trueup-onnx/1"):
            read_form(content)
