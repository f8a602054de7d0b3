"""Losses, metrics with intervals, calibration."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import METRICS, Task
from trueup.domain.judging.bootstrap import Blocks, paired_interval
from trueup.domain.judging.metrics import (
    MAX_SLICES,
    calibration_table,
    loss_name,
    metrics,
    metrics_with_intervals,
    row_losses,
    slice_table,
)

DAY = timedelta(days=1)
CLASSES = ["a", "b", "c"]


def moments(n, days=20):
    seconds = np.linspace(0, days * 86400, n, endpoint=False).astype("timedelta64[s]")
    return np.datetime64("2024-01-01", "us") + seconds


@pytest.fixture
def binary():
    rng = np.random.default_rng(0)
    p = rng.random(2000).round(2)
    return (rng.random(2000) < p).astype(float), p


@pytest.fixture
def multiclass():
    rng = np.random.default_rng(0)
    p = rng.dirichlet([1, 2, 3], 1500)
    y = np.array([CLASSES[rng.choice(3, p=row)] for row in p])
    return y, p


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    y = rng.normal(50, 10, 1500)
    return y, y + rng.normal(0, 4, 1500)


def test_binary_metrics_are_those_of_scikit_learn(binary):
    y, p = binary
    found = metrics(Task.BINARY, y, p)
    assert next(iter(found)) == loss_name(Task.BINARY) == "log_loss"
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p))
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(y, p))
    assert found["ece"] < 0.04
    assert metrics(Task.BINARY, y, p**3)["ece"] > 0.15


def test_multiclass_metrics_are_those_of_scikit_learn(multiclass):
    y, p = multiclass
    found = metrics(Task.MULTICLASS, y, p, CLASSES)
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p, labels=CLASSES))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, np.array(CLASSES)[p.argmax(axis=1)]))
    assert found["auc_ovr"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr", labels=CLASSES))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p, labels=CLASSES, scale_by_half=False))


def test_regression_metrics_are_those_of_scikit_learn(regression):
    y, p = regression
    found = metrics(Task.REGRESSION, y, p)
    assert found["mse"] == pytest.approx(sk.mean_squared_error(y, p))
    assert found["rmse"] == pytest.approx(sk.root_mean_squared_error(y, p))
    assert found["mae"] == pytest.approx(sk.mean_absolute_error(y, p))
    assert found["r2"] == pytest.approx(sk.r2_score(y, p))


def test_certain_and_wrong_is_dear_but_finite():
    losses = row_losses(Task.BINARY, [1, 0, 1], np.array([0, 1, 1], dtype=np.float32))
    assert losses == pytest.approx([-np.log(1e-15), -np.log(1e-15), 0])


def test_a_class_that_the_model_does_not_know_costs_as_much_as_an_impossible_one():
    losses = row_losses(Task.MULTICLASS, ["a", "new"], [[0.5, 0.5, 0], [0.5, 0.5, 0]], CLASSES)
    assert losses == pytest.approx([np.log(2), -np.log(1e-15)])


@pytest.mark.parametrize(
    ("task", "y", "prediction", "classes"),
    [
        (Task.BINARY, [1, 0], [np.nan, 0.5], None),
        (Task.MULTICLASS, ["a", "b"], [[np.nan, 0.5, 0.5], [0.2, 0.5, 0.3]], CLASSES),
        (Task.REGRESSION, [1, 0], [np.nan, 0.5], None),
    ],
)
def test_a_missing_prediction_has_a_missing_loss(task, y, prediction, classes):
    assert np.isnan(row_losses(task, y, prediction, classes)).tolist() == [True, False]


@pytest.mark.parametrize(
    ("y", "p", "reason"),
    [
        ([], [], "no rows"),
        ([1.0, 1.0], [0.5, 0.6], "one class only"),
        ([1.0, 0.0], [0.5, np.nan], "1 predictions are missing"),
        ([1.0, np.nan], [0.5, 0.5], "1 labels are missing"),
        ([1.0, 0.0], [0.5], "2 labels but 1 predictions"),
    ],
)
def test_metrics_that_do_not_exist_are_an_error_with_the_reason(y, p, reason):
    with pytest.raises(ValueError, match=reason):
        metrics(Task.BINARY, y, p)


@pytest.mark.parametrize("task", Task)
def test_the_config_knows_which_metrics_a_task_has(task):
    one = {"classes": ["a", "b"]} if task is Task.MULTICLASS else {}
    y = ["a", "b"] if one else [0.0, 1.0]
    p = [[0.6, 0.4], [0.5, 0.5]] if one else [0.5, 0.6]
    assert tuple(metrics(task, y, p, **one)) == METRICS[task]


def test_multiclass_needs_its_classes():
    with pytest.raises(ValueError, match="needs its classes"):
        metrics(Task.MULTICLASS, ["a", "b"], [[0.5, 0.5], [0.5, 0.5]])


def test_the_auc_leaves_out_classes_that_are_absent(multiclass):
    y, p = multiclass
    kept = y != "c"
    found = metrics(Task.MULTICLASS, y[kept], p[kept], CLASSES)
    by_hand = np.mean([sk.roc_auc_score(y[kept] == c, p[kept, k]) for k, c in enumerate("ab")])
    assert found["auc_ovr"] == pytest.approx(by_hand)


@pytest.mark.parametrize("task", list(Task))
def test_intervals_hold_the_value_and_shrink_with_confidence(task, request):
    y, p = request.getfixturevalue(task.value)
    classes = CLASSES if task is Task.MULTICLASS else None
    wide, narrow = (
        {m.name: m for m in metrics_with_intervals(task, y, p, moments(len(y)), DAY, 300, c, seed=1, classes=classes)}
        for c in (0.95, 0.6)
    )
    assert {name: m.value for name, m in wide.items()} == metrics(task, y, p, classes)
    bounded = {name for name, m in wide.items() if m.low is not None}
    assert bounded == set(wide) - {"ece", "average_precision"}
    for name in bounded:
        assert wide[name].low < narrow[name].low < wide[name].value < narrow[name].high < wide[name].high


@pytest.mark.slow
def test_the_auc_of_a_resample_is_the_auc_of_its_rows(binary):
    """The error of the AUC agrees with one that draws the rows of whole days and sorts them anew."""
    y, p = binary
    day = np.arange(len(y)) * 20 // len(y)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(200):
        rows = np.concatenate([np.flatnonzero(day == d) for d in rng.integers(0, 20, 20)])
        draws.append(sk.roc_auc_score(y[rows], p[rows]))
    found = {m.name: m for m in metrics_with_intervals(Task.BINARY, y, p, moments(len(y)), DAY, 2000, 0.95, 0)}["auc"]
    by_hand = 2.093 * np.std(draws) * np.sqrt(20 / 19)  # Student's t, 19 degrees of freedom
    assert (found.high - found.low) / 2 == pytest.approx(by_hand, rel=0.15)


def test_few_days_have_values_but_no_intervals(binary):
    y, p = binary
    found = metrics_with_intervals(Task.BINARY, y, p, moments(len(y), days=9), DAY)
    assert all(m.low is None and m.high is None and np.isfinite(m.value) for m in found)


def test_bounds_stay_where_the_metric_can_be():
    y = np.tile([0.0, 1.0], 200)
    p = np.where(y == 1, 0.9, 0.1)
    p[::37] = 0.5
    found = {m.name: m for m in metrics_with_intervals(Task.BINARY, y, p, moments(400), DAY)}
    assert found["auc"].high <= 1
    assert found["log_loss"].low >= 0


def test_calibration_bins_hold_equally_many_rows(binary):
    y, p = binary
    table = calibration_table(y, p + np.arange(len(p)) * 1e-9, bins=10)
    assert table["rows"].tolist() == [200] * 10
    assert table["predicted"].is_monotonic_increasing
    assert (table["observed"] - table["predicted"]).abs().max() < 0.12


def test_equal_predictions_share_one_bin():
    table = calibration_table([0, 1, 1, 1], [0.5] * 4)
    assert table.to_dict("records") == [{"low": 0.5, "high": 0.5, "rows": 4, "predicted": 0.5, "observed": 0.75}]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=50))
def test_no_row_is_lost_in_calibration(rows):
    y, p = zip(*rows, strict=True)
    table = calibration_table(y, p)
    assert table["rows"].sum() == len(rows)
    assert (table["low"] <= table["high"]).all()
    assert float(np.average(table["observed"], weights=table["rows"])) == pytest.approx(np.mean(y))


def sliced(champion=True):
    rng = np.random.default_rng(4)
    slices = pd.DataFrame(
        {"group": np.array(["a", "b", None, "z"], dtype=object)[rng.choice(4, 2000, p=[0.5, 0.3, 0.15, 0.05])]}
    )
    ours, theirs = rng.random(2000), rng.random(2000) + 0.1
    table = slice_table(slices, Blocks.of(moments(2000), DAY), ours, theirs if champion else None, EvaluateConfig())
    return slices["group"], ours, theirs, table


def test_a_table_of_slices_gives_losses_and_their_bounds_the_largest_slice_first():
    group, ours, theirs, table = sliced()
    assert [row.slice for row in table] == ["group=a", "group=b", "group=missing", "group=z"]
    mine = (group == "b").to_numpy()
    expected = paired_interval(ours[mine] - theirs[mine], moments(2000)[mine], DAY)
    row = table[1]
    assert row.rows == mine.sum()
    assert (row.challenger, row.champion) == pytest.approx((ours[mine].mean(), theirs[mine].mean()))
    assert (row.difference, row.difference_low, row.difference_high) == pytest.approx(
        (expected.mean, expected.low, expected.high)
    )
    assert row.low < row.challenger < row.high


def test_a_slice_too_small_to_tell_has_no_bounds_and_without_a_champion_there_is_no_difference():
    small = sliced()[-1][-1]
    assert small.rows < 200
    assert [getattr(small, k) for k in ("low", "high", "difference_low", "difference_high")] == [None] * 4
    assert small.champion > 0
    alone = sliced(champion=False)[-1][0]
    assert alone.low < alone.challenger < alone.high
    assert not hasattr(alone, "champion")


def test_of_very_many_slices_the_largest_are_described():
    many = pd.DataFrame({"user": np.r_[np.zeros(500), np.arange(1500)].astype(int)})
    table = slice_table(many, Blocks.of(moments(2000), DAY), np.ones(2000), None, EvaluateConfig())
    assert len(table) == MAX_SLICES
    assert table[0].slice == "user=0"
