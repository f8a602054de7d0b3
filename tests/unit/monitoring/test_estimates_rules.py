"""The parts that all estimates share: calibration, the limit of the alarm, and the check on row losses."""

from datetime import timedelta

import numpy as np
import pytest

from trueup.domain.judging.bootstrap import Blocks
from trueup.domain.monitoring.estimates.alarm import limit_of
from trueup.domain.monitoring.estimates.calibration import Calibrator
from trueup.domain.monitoring.estimates.check import gate_residuals, residual_check

DAY = timedelta(days=1)


def days_of(n, days):
    return np.datetime64("2024-01-01", "us") + (np.arange(n) * days // n).astype("timedelta64[D]")


def calibrated(true, rows=6_000, seed=1):
    """A calibrator of uniform predictions whose labels have the shares `true` of them."""
    rng = np.random.default_rng(seed)
    p = rng.random(rows)
    hits = rng.random(rows) < true(p)
    return Calibrator.fit(hits, p, Blocks.of(days_of(rows, 20), DAY), 1, 50, 0)


@pytest.mark.parametrize(
    ("curve", "true"),
    [
        ("own", lambda p: p),
        ("logistic", lambda p: p**2 / (p**2 + 3 * (1 - p) ** 2)),
        ("isotonic", lambda p: np.where(p < 0.3, 0.1, np.where(p < 0.7, 0.5, 0.6))),
    ],
)
def test_the_curve_is_kept_that_tells_other_spans_of_time_best(curve, true):
    found, at = calibrated(true), np.linspace(0.05, 0.95, 19)
    assert found.curve == curve
    assert np.abs(found(at) - true(at)).mean() < 0.03
    assert (np.diff(found(at)) >= 0).all()


def test_more_rows_make_a_calibrator_surer():
    p, gradient = np.full(100, 0.4), np.full(100, 0.01)
    few, many = (calibrated(lambda p: p, rows).error(p, gradient).std() for rows in (500, 8_000))
    assert 2 < few / many < 8  # 4 if it goes with the root of the rows


def test_a_rise_within_noise_does_not_pass_the_limit_and_a_larger_one_does():
    rng = np.random.default_rng(2)
    n, when = 2_000, days_of(2_000, 20)
    limit = limit_of(0.5 + rng.normal(0, 0.1, n), np.ones(n), when, DAY, 0.95, 0.0)
    new = days_of(700, 7)
    judged = [limit.judge(0.5 + rise + rng.normal(0, 0.1, 700), np.ones(700), new) for rise in (0.0, 0.05)]
    assert [j.worse for j in judged] == [False, True]
    assert judged[0].limit < 0.53
    assert judged[1].ratio == pytest.approx(0.55, abs=0.02)


def test_a_practical_minimum_widens_the_limit():
    rng = np.random.default_rng(3)
    loss = 0.5 + rng.normal(0, 0.1, 2_000)
    limit = limit_of(loss, np.ones(2_000), days_of(2_000, 20), DAY, 0.95, 0.2)
    assert limit.judge(loss + 0.19, np.ones(2_000), days_of(2_000, 20)).worse is False
    assert limit.judge(loss + 0.21, np.ones(2_000), days_of(2_000, 20)).worse is True


def test_a_loss_that_rises_with_its_base_does_not_alarm():
    rng = np.random.default_rng(4)
    loss, when = 0.5 + rng.normal(0, 0.1, 2_000), days_of(2_000, 20)
    limit = limit_of(loss, np.ones(2_000), when, DAY, 0.95, 0.0)
    assert not limit.judge(2 * loss, np.full(2_000, 2.0), when).worse


def test_too_few_blocks_of_time_give_no_limit():
    with pytest.raises(ValueError, match="span 4 blocks of time"):
        limit_of(np.ones(100), np.ones(100), days_of(100, 4), DAY, 0.95, 0.0)


def test_a_check_is_off_beyond_noise_only_and_its_words_have_both_figures():
    rng = np.random.default_rng(5)
    n, when = 4_000, days_of(4_000, 20)
    expected = np.full(n, 0.4)
    gate = gate_residuals(expected, expected + rng.normal(0, 0.3, n), when, DAY, 0.95)
    new = days_of(700, 7)
    right, wrong = (
        residual_check("log-loss", expected[:700], 0.4 + more + rng.normal(0, 0.3, 700), new, gate, DAY, 0.95)
        for more in (0.0, 0.1)
    )
    assert not right.off
    assert right.low < 0 < right.high
    assert wrong.off
    assert wrong.low < 0.1 < wrong.high
    assert wrong.words.startswith(f"log-loss was {wrong.realised:.4g}, 0.4 had been estimated")
    assert "the model is worse than its inputs tell" in wrong.words
    assert residual_check("log-loss", expected[:29], expected[:29], new[:29], gate, DAY, 0.95) is None


def test_an_error_below_the_tolerance_is_not_off_however_sure():
    n, when = 4_000, days_of(4_000, 20)
    expected = np.full(n, 0.4)
    gate = gate_residuals(expected, expected + np.tile([0.001, -0.001], n // 2), when, DAY, 0.95)
    assert not residual_check("log-loss", expected, expected + 0.005, when, gate, DAY, 0.95).off
    assert residual_check("log-loss", expected, expected + 0.02, when, gate, DAY, 0.95).off
