"""Estimates of a classifier without labels: what they equal, and what the labels say later."""

from datetime import timedelta
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.tasks import Task
from trueup.domain.judging.metrics import metrics
from trueup.domain.monitoring.estimates.cbpe import Cbpe
from trueup.domain.monitoring.estimates.expected import costs, expected_figures

DAY = timedelta(days=1)


def days_of(n, days, start="2024-01-01"):
    each = np.sort(np.arange(n) * days // n)
    return np.datetime64(start, "us") + each.astype("timedelta64[D]").astype("timedelta64[us]")


def drawn(rng, n, shift=0.0, slope=1.0):
    """Predictions, and labels whose true log-odds are `slope` times the predicted ones."""
    odds = rng.normal(shift, 1.5, n)
    return 1 / (1 + np.exp(-odds)), (rng.random(n) < 1 / (1 + np.exp(-slope * odds))).astype(int)


def fitted(p, y, days=28, task=Task.BINARY, classes=None, min_change=0.01):
    return Cbpe.fit(
        task,
        y,
        p,
        days_of(len(y), days),
        classes=classes,
        block=DAY,
        confidence=0.95,
        resamples=200,
        seed=1,
        min_change=min_change,
    )


def values(estimate):
    return {m.name: m.value for m in estimate.metrics}


@given(st.lists(st.floats(0.001, 0.999), min_size=1, max_size=50))
def test_the_expected_loss_of_calibrated_probabilities_is_their_entropy(shares):
    p = np.column_stack([1 - np.array(shares), shares])
    entropy = -np.sum(p * np.log(p), axis=1)
    assert np.allclose(costs(p, p)[0], entropy)
    assert costs(p, p)[1].sum() >= entropy.sum() - 1e-9  # no constant is better


@given(st.integers(0, 2**32 - 1), st.integers(2, 60), st.integers(1, 4))
def test_an_expected_area_is_between_0_and_1_whatever_the_predictions(seed, n, digits):
    rng = np.random.default_rng(seed)
    p, q = rng.random(n).round(digits), rng.random(n)
    figures = expected_figures(Task.BINARY, np.column_stack([1 - q, q]), np.column_stack([1 - p, p]), None)
    auc = next(f for f in figures if f.name == "auc")
    assert -1e-9 <= auc.value <= 1 + 1e-9
    cells = [f.value for f in figures if f.name.startswith("expected_")]
    assert sum(cells) == pytest.approx(1)


@given(st.integers(0, 2**32 - 1), st.integers(4, 60))
def test_with_certain_labels_every_expected_figure_is_the_realised_one(seed, n):
    rng = np.random.default_rng(seed)
    p, y = rng.random(n).round(1) * 0.98 + 0.01, np.arange(n) % 2
    certain = np.column_stack([1 - y, y]).astype(float)
    figures = {f.name: f.value for f in expected_figures(Task.BINARY, certain, np.column_stack([1 - p, p]), None)}
    realised = metrics(Task.BINARY, y, p)
    assert figures["auc"] == pytest.approx(realised["auc"])
    assert figures["log_loss"] == pytest.approx(realised["log_loss"])


def test_the_derivative_of_the_area_is_that_of_a_small_step():
    rng = np.random.default_rng(3)
    p, q = rng.random(40).round(1), rng.random(40)

    def area(shares):
        figures = expected_figures(
            Task.BINARY, np.column_stack([1 - shares, shares]), np.column_stack([1 - p, p]), None
        )
        return next(f for f in figures if f.name == "auc")

    slope = area(q).gradient[:, 1]
    for i in range(5):
        step = np.where(np.arange(40) == i, 1e-6, 0)
        assert (area(q + step).value - area(q - step).value) / 2e-6 == pytest.approx(slope[i], rel=1e-4)


@cache
def usual():
    """An estimator that several tests share."""
    return fitted(*drawn(np.random.default_rng(11), 600))


@given(st.integers(0, 1000))
def test_the_order_of_rows_does_not_count(seed):
    rng, found = np.random.default_rng(seed), usual()
    p, _ = drawn(rng, 200)
    when, order = days_of(200, 12), rng.permutation(200)
    one, other = found.estimate(p, when), found.estimate(p[order], when[order])
    assert values(one) == pytest.approx(values(other))
    assert one.worse == other.worse


def test_two_classes_of_a_multiclass_task_are_estimated_as_a_binary_one():
    rng = np.random.default_rng(5)
    p, y = drawn(rng, 3000)
    named = np.array(["no", "yes"])[y]
    both = fitted(np.column_stack([1 - p, p]), named, task=Task.MULTICLASS, classes=["no", "yes"])
    new, _ = drawn(rng, 800)
    when = days_of(800, 14)
    binary = fitted(p, y).estimate(new, when)
    multiclass = both.estimate(np.column_stack([1 - new, new]), when)
    a, b = values(binary), values(multiclass)
    assert a["log_loss"] == pytest.approx(b["log_loss"])
    assert a["auc"] == pytest.approx(b["auc_ovr"])
    assert a["accuracy"] == pytest.approx(b["accuracy"])
    assert a["expected_tp"] == pytest.approx(b["expected_tp_yes"])
    assert binary.worse == multiclass.worse


def test_wrong_probabilities_are_calibrated_and_right_ones_follow_a_shift_of_the_inputs():
    rng = np.random.default_rng(7)
    found = fitted(*drawn(rng, 20_000, slope=0.5))
    for shift in (0.0, 1.0):
        p, y = drawn(rng, 20_000, shift=shift, slope=0.5)
        expected, realised = values(found.estimate(p, days_of(len(p), 14))), metrics(Task.BINARY, y, p)
        assert expected["auc"] == pytest.approx(realised["auc"], abs=0.02)
        assert expected["log_loss"] == pytest.approx(realised["log_loss"], abs=0.03)
        assert not found.check(y, p, days_of(len(p), 14)).off


def test_a_changed_relation_is_told_by_the_check():
    rng = np.random.default_rng(9)
    found = fitted(*drawn(rng, 6_000))
    p, y = drawn(rng, 2_000, slope=0.3)
    estimate, check = found.estimate(p, days_of(2_000, 14)), found.check(y, p, days_of(2_000, 14))
    assert not estimate.worse  # blind
    assert check.off
    assert "the relation of predictions and labels changed" in check.words
    assert check.low < check.error == pytest.approx(check.realised - check.estimated)
    assert found.check(y[:10], p[:10], days_of(10, 1)) is None


@pytest.mark.parametrize(
    ("rows", "days", "share", "sentence"),
    [
        (50, 28, 0.5, "the gate has 50 rows with labels; at least 100 are needed"),
        (500, 3, 0.5, "span 3 blocks of time"),
        (500, 28, 0.0, "of one class only"),
    ],
)
def test_a_gate_that_does_not_suffice_is_refused_in_words(rows, days, share, sentence):
    rng = np.random.default_rng(0)
    y = (rng.random(rows) < share).astype(int)
    with pytest.raises(ValueError, match=sentence):
        fitted(rng.random(rows), y, days=days)


def test_rows_without_a_prediction_are_left_out():
    rng = np.random.default_rng(13)
    p, y = drawn(rng, 400)
    holes = np.where(np.arange(400) % 4 == 0, np.nan, p)
    there, when = np.isfinite(holes), days_of(400, 14)
    assert usual().estimate(holes, when) == usual().estimate(p[there], when[there])
    assert usual().check(y, holes, when) == usual().check(y[there], p[there], when[there])
    with pytest.raises(ValueError, match="no row has a prediction"):
        usual().estimate(np.full(40, np.nan), days_of(40, 2))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.integers(0, 3),
    st.integers(1, 40),
)
def test_any_predictions_have_finite_figures_within_their_intervals(seed, certain, digits, rows):
    rng = np.random.default_rng(seed)
    p, y = drawn(rng, 300)
    p = np.where(rng.random(300) < certain, y, p).round(digits)  # also all the same, or all 0 and 1
    y = np.where(np.arange(300) < 2, np.arange(300), y)  # both classes are there
    estimate = fitted(p, y).estimate(rng.random(rows).round(digits), days_of(rows, 3))
    for m in (*estimate.metrics, *estimate.gate):
        assert np.isfinite([m.value, m.low, m.high]).all()
        assert m.low <= m.value + 1e-9
        assert m.value <= m.high + 1e-9
