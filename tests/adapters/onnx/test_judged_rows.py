"""The rows that a form is judged on reach the places where a wrong form would differ."""

import numpy as np
import onnx
import pytest

from tests.adapters.onnx import pipelines
from tests.adapters.onnx.test_exporter import answered
from trueup.adapters.onnx.exporter import to_onnx
from trueup.adapters.onnx.form import Form, encode
from trueup.adapters.onnx.judged_rows import judged_rows, parity_rows
from trueup.config.tasks import Task
from trueup.domain.learning import learning

ALL = [(family, task) for family in pipelines.FAMILIES for task in Task]


def made(family, task, X=None, **parameters):
    X = pipelines.table(600) if X is None else X
    fitted = pipelines.fit(family, task, X, pipelines.labels(X, task), **parameters)
    return fitted, to_onnx(fitted, pipelines.dtypes(X), task), X


@pytest.mark.parametrize("rows", [judged_rows, parity_rows])
@pytest.mark.parametrize(("family", "task"), ALL)
def test_every_family_predicts_them_like_the_pipeline(family, task, rows):
    fitted, form, X = made(family, task)
    judged = rows(fitted, form, X, seed=3)
    assert pipelines.apart(answered(form, judged), learning.predict(fitted, judged, task)) <= form.tolerance / 10
    assert judged.equals(rows(fitted, form, X, seed=3))
    assert len(judged) <= (6_500 if rows is judged_rows else 64)
    assert (
        judged[[i.name for i in form.inputs if i.kind == "number"]].dtypes
        == X.dtypes[[i.name for i in form.inputs if i.kind == "number"]]
    ).all()


def changed(form, change):
    """The form with the attributes of its trees changed."""
    model = onnx.load_from_string(form.graph)
    node = next(n for n in model.graph.node if n.op_type.startswith("TreeEnsemble"))
    for attribute in node.attribute:
        change(attribute)
    return Form(model.SerializeToString(), form.inputs, form.tolerance, form.classes, form.infinite)


def nearest_float32(attribute):
    if attribute.name == "nodes_splits":
        rounded = onnx.numpy_helper.to_array(attribute.t).astype(np.float32).astype(np.float64)
        attribute.t.CopyFrom(onnx.numpy_helper.from_array(rounded))


def less_than(attribute):
    if attribute.name == "nodes_modes" and attribute.t.data_type:
        modes = onnx.numpy_helper.to_array(attribute.t) + 1
        attribute.t.CopyFrom(onnx.numpy_helper.from_array(modes.astype(np.uint8)))
    elif attribute.name == "nodes_modes":
        attribute.strings[:] = [b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode for mode in attribute.strings]


def missing_right(attribute):
    if attribute.name == "nodes_missing_value_tracks_true":
        attribute.ints[:] = [0] * len(attribute.ints)


@pytest.mark.parametrize(
    ("family", "change"),
    [
        ("gradient_boosting", nearest_float32), ("gradient_boosting", less_than), ("gradient_boosting", missing_right),
        ("forest", less_than), ("forest", missing_right),
    ],
)  # fmt: skip
@pytest.mark.parametrize("task", list(Task))
def test_a_wrong_form_is_noticed(family, change, task):
    if family == "forest" and change is less_than and task is not Task.MULTICLASS:
        return  # a float64 threshold is no float32, as which the rows are read
    small = {"n_estimators": 3, "max_leaf_nodes": 40} if family == "forest" else {}
    small["schema"] = pipelines.FeatureSchema(
        pipelines.NUMBERS, ()
    )  # categories are whole numbers: none is just beside
    fitted, form, X = made(family, task, **small)
    judged = judged_rows(fitted, form, X)
    difference = pipelines.apart(answered(changed(form, change), judged), learning.predict(fitted, judged, task))
    assert difference > form.tolerance


def moved(form, family):
    """The forms with one threshold of a float64 column moved by the smallest step, for a forest one of float32."""
    model = onnx.load_from_string(form.graph)
    attributes = {
        a.name: a for a in next(n for n in model.graph.node if n.op_type.startswith("TreeEnsemble")).attribute
    }
    numbers = [number for number, column in enumerate(form.inputs) if column.name in ("price", "gappy")]
    features = list(attributes["nodes_featureids"].ints)
    if "nodes_splits" in attributes:
        thresholds = onnx.numpy_helper.to_array(attributes["nodes_splits"].t).copy()
        inner = np.isfinite(thresholds)
    else:
        thresholds = np.array(attributes["nodes_values"].floats, dtype=np.float32)
        inner = np.isfinite(thresholds) & (np.array(attributes["nodes_modes"].strings) != b"LEAF")
    for place in np.flatnonzero(np.isin(features, numbers) & inner):
        for way in (-np.inf, np.inf):
            other = thresholds.copy()
            if family == "forest":  # at least one float32 is between the two
                other[place] = np.nextafter(np.nextafter(np.float32(other[place]), np.float32(way)), np.float32(way))
            else:
                other[place] = np.nextafter(other[place], way)
            if "nodes_splits" in attributes:
                attributes["nodes_splits"].t.CopyFrom(onnx.numpy_helper.from_array(other))
            else:
                attributes["nodes_values"].floats[:] = other.tolist()
            yield Form(model.SerializeToString(), form.inputs, form.tolerance, form.classes, form.infinite)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("family", ["gradient_boosting", "forest"])
def test_each_threshold_is_reached(family, task):
    small = {"n_estimators": 9, "max_leaf_nodes": 20} if family == "forest" else {"max_iter": 2}
    fitted, form, X = made(family, task, **small)
    judged = judged_rows(fitted, form, X)
    here = learning.predict(fitted, judged, task)
    others = [pipelines.apart(answered(other, judged), here) for other in moved(form, family)]
    assert len(others) > 10
    assert min(others) > form.tolerance


def test_boosting_is_judged_on_infinite_numbers_and_other_families_are_not():
    for family in ("gradient_boosting", "forest", "linear"):
        fitted, form, X = made(family, Task.BINARY)
        for rows in (judged_rows(fitted, form, X), parity_rows(fitted, form, X)):
            assert np.isinf(encode(form.inputs, rows)).any() == (family == "gradient_boosting")
        assert (judged_rows(fitted, form, X)["price"].abs() == 1e30).sum() == 2


def test_rows_that_scikit_learn_refuses_are_left_out():
    X = pipelines.table(300)[["price", "narrow"]].astype(np.float32) * np.float32(1e-12)
    y = pipelines.labels(pipelines.table(300), Task.BINARY)
    fitted = pipelines.fit("linear", Task.BINARY, X, y, pipelines.FeatureSchema(("price", "narrow"), ()))
    form = to_onnx(fitted, pipelines.dtypes(X), Task.BINARY)
    judged = judged_rows(fitted, form, X)  # 1e30 of 1e-12 is infinite in float32
    assert judged.abs().max().max() < 1
    assert pipelines.apart(answered(form, judged), learning.predict(fitted, judged, Task.BINARY)) <= form.tolerance


def test_all_categories_and_gaps_are_judged():
    fitted, form, X = made("linear", Task.BINARY)
    judged = judged_rows(fitted, form, X)
    towns = judged["town"].astype(object)
    assert set(X["town"]) < set(towns)
    assert set(towns.dropna()) - set(X["town"])
    assert judged[[i.name for i in form.inputs]].isna().any().all()


def test_no_row_of_the_frame_leaves_with_a_bundle():
    for family in pipelines.FAMILIES:
        fitted, form, X = made(family, Task.REGRESSION, pipelines.table(150))
        rows = encode(form.inputs, parity_rows(fitted, form, X))
        assert 20 <= len(rows) <= 64
        assert not {row.tobytes() for row in rows} & {row.tobytes() for row in encode(form.inputs, X)}
