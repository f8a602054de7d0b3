"""Block bootstrap: what it computes, and what its intervals are worth."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trueup.domain.judging.bootstrap import (
    MAX_BLOCKS,
    Blocks,
    interval_from,
    multiplicities,
    paired_interval,
    run_length,
    sums_interval,
)

DAY = timedelta(days=1)


def moments(days, rows_a_day=1, start="2024-01-01"):
    each = np.repeat(np.arange(days), rows_a_day)
    return np.datetime64(start, "us") + each.astype("timedelta64[D]").astype("timedelta64[us]")


def daily_process(rng, days, autocorrelation):
    """A stationary AR(1) process of mean 0 and variance 1."""
    shocks = rng.standard_normal(days + 50)
    values = np.empty_like(shocks)
    values[0] = shocks[0]
    for i in range(1, len(shocks)):
        values[i] = autocorrelation * values[i - 1] + np.sqrt(1 - autocorrelation**2) * shocks[i]
    return values[50:]


def share_missed(days, autocorrelation, samples, seed=1):
    """How often a 95 % interval misses the true mean 0 of days with 300 to 1,500 noisy rows."""
    rng = np.random.default_rng(seed)
    missed = 0
    for _ in range(samples):
        rows = rng.integers(300, 1500, days).astype(float)
        sums = daily_process(rng, days, autocorrelation) * rows + rng.standard_normal(days) * np.sqrt(rows) * 3
        found = sums_interval(sums, rows, 0.95)
        missed += not found.low <= 0 <= found.high
    return missed / samples


@pytest.mark.parametrize(
    ("autocorrelation", "at_most"),
    # Percentile bounds of single days miss 10 % and 26 % here.
    [(0.0, 0.075), (0.4, 0.145)],
)
def test_a_95_percent_interval_of_14_days_misses_about_as_often_as_its_docstring_says(autocorrelation, at_most):
    missed = share_missed(14, autocorrelation, samples=2_000)
    print(f"autocorrelation {autocorrelation}: {missed:.1%} missed")
    assert 0.02 <= missed <= at_most


def test_the_mean_is_weighted_by_rows_and_the_order_of_rows_does_not_matter():
    time = np.concatenate([moments(12, 5), moments(12, 20)])
    values = np.random.default_rng(0).normal(1, 1, len(time))
    shuffled = np.random.default_rng(1).permutation(len(time))
    found = paired_interval(values, time, DAY)
    assert found.mean == pytest.approx(values.mean())
    again = paired_interval(values[shuffled], time[shuffled], DAY)
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    assert found.low < found.mean < found.high
    assert (found.blocks, found.enough) == (12, True)


def test_rows_that_repeat_their_day_do_not_make_the_interval_narrower():
    daily = np.random.default_rng(0).normal(size=20)
    few = paired_interval(daily, moments(20), DAY)
    many = paired_interval(np.repeat(daily, 100), moments(20, 100), DAY)
    assert many.high - many.low == pytest.approx(few.high - few.low)


def test_the_error_of_independent_days_is_that_of_a_mean():
    values = np.tile([-1.0, 1.0], 100)  # neighbours differ, so that days are drawn singly
    found = paired_interval(values, moments(200), DAY)
    assert found.block_length == 1
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(200), rel=1e-6)


def test_days_that_resemble_their_neighbours_are_drawn_in_runs():
    rng = np.random.default_rng(0)
    waves = np.sin(np.arange(60) / 4)
    found = paired_interval(waves, moments(60), DAY)
    shuffled = paired_interval(rng.permutation(waves), moments(60), DAY)
    assert found.block_length > 5
    assert found.error > 1.5 * shuffled.error


def test_run_length_is_that_of_politis_and_white():
    # AR(1) with r = .5 and 1,000 blocks: (sqrt(6) * .5 / .75) ** (2/3) * 10 = 13.9
    long = daily_process(np.random.default_rng(5), 1000, 0.5)
    assert 12 <= run_length(long - long.mean()) <= 16
    alternating = np.tile([1.0, -1.0], 10)
    assert run_length(alternating) == 1
    assert run_length(np.zeros(20)) == 1


def test_a_ratio_is_bounded_like_a_mean():
    rng = np.random.default_rng(0)
    over = rng.uniform(1, 2, 300)
    found = paired_interval(0.1 * over, moments(30, 10), DAY, over=over)
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_fewer_than_ten_blocks_are_not_enough_and_one_block_bounds_nothing():
    values = np.random.default_rng(0).normal(size=90)
    assert not paired_interval(values, moments(9, 10), DAY).enough
    single = paired_interval(values, moments(1, 90), DAY)
    assert (single.low, single.high) == (-np.inf, np.inf)
    assert single.p_above(-1e9) == 1


def test_no_rows_are_an_error():
    with pytest.raises(ValueError, match="no rows"):
        paired_interval([], [], DAY)


def test_constant_values_are_certain():
    found = paired_interval(np.full(30, 0.25), moments(30), DAY)
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)
    assert (found.p_above(0.2), found.p_above(0.25)) == (0, 1)


def test_p_values_agree_with_bounds():
    values = np.random.default_rng(0).normal(0.3, 1, 40)
    found = paired_interval(values, moments(40), DAY)
    for alpha in (0.2, 0.05, 0.001):
        assert found.p_above(found.lower(alpha)) == pytest.approx(alpha)
    assert found.lower(0.025) == pytest.approx(found.low)


def test_blocks_are_calendar_days_and_days_without_rows_do_not_count():
    time = np.array(["2024-03-01T00:00", "2024-02-28T23:59", "2024-03-01T23:59"], dtype="datetime64[us]")
    blocks = Blocks.of(time, DAY)
    assert (blocks.codes.tolist(), blocks.count) == ([1, 0, 1], 2)
    assert blocks.sums([1.0, 5.0, 2.0]).tolist() == [5.0, 3.0]


def test_very_many_blocks_are_merged():
    time = np.datetime64("2024-01-01", "us") + np.arange(20_000).astype("timedelta64[m]").astype("timedelta64[us]")
    blocks = Blocks.of(time, timedelta(minutes=1))
    assert blocks.count <= MAX_BLOCKS
    assert blocks.sums().min() > 0


def test_times_before_1970_fall_into_days_too():
    time = np.array(["1969-12-31T23:00", "1969-12-31T01:00", "1970-01-01T01:00"], dtype="datetime64[us]")
    assert Blocks.of(time, DAY).codes.tolist() == [0, 0, 1]


@given(blocks=st.integers(1, 40), length=st.integers(1, 13), seed=st.integers(0, 2**31))
def test_each_resample_holds_as_many_blocks_as_there_are(blocks, length, seed):
    drawn = multiplicities(blocks, length, 20, seed)
    assert drawn.shape == (20, blocks)
    assert (drawn.sum(axis=1) == blocks).all()
    assert (drawn == multiplicities(blocks, length, 20, seed)).all()


@given(values=st.lists(st.floats(-100, 100), min_size=2, max_size=60), shift=st.floats(-10, 10))
@example([0.0, 7.5e-146], 0.0)
def test_intervals_hold_the_mean_and_move_with_the_values(values, shift):
    time = moments(len(values))
    found = paired_interval(values, time, DAY)
    moved = paired_interval(np.array(values) + shift, time, DAY)
    assert found.low <= found.mean <= found.high
    # A run length that is decided by rounding alone may differ; the mean may not.
    assert moved.mean == pytest.approx(found.mean + shift, abs=1e-6)


@given(
    values=st.lists(st.floats(-100, 100), min_size=3, max_size=40, unique=True),
    alpha=st.floats(1e-4, 0.4),
    above=st.booleans(),
)
def test_a_bound_and_its_p_value_agree_on_either_side_of_the_mean(values, alpha, above):
    found = paired_interval(values, moments(len(values)), DAY)
    level = 1 - alpha if above else alpha
    if found.error > 1e-9:
        assert found.p_above(found.lower(level)) == pytest.approx(level, abs=1e-6)


@pytest.mark.parametrize("autocorrelation", [0.0, 0.6])
def test_the_error_is_that_of_infinitely_many_resamples(autocorrelation):
    rng = np.random.default_rng(4)
    rows = rng.integers(50, 100, 60).astype(float)
    sums = daily_process(rng, 60, autocorrelation) * rows
    found = sums_interval(sums, rows, 0.9)
    drawn = multiplicities(60, found.block_length, 40_000, 1) @ (sums - rows * found.mean) / rows.sum()
    by_hand = interval_from(found.mean, drawn, 60, found.block_length, 0.9)
    assert (found.block_length > 1) == (autocorrelation > 0)
    assert found.error == pytest.approx(by_hand.error, rel=0.03)


def share_beyond(draw, truth, days, samples=2_000, seed=3):
    """How often the truth lies outside a 95 % interval, and above a one-sided bound at 90 %, of days drawn independently."""
    rng = np.random.default_rng(seed)
    found = [sums_interval(draw(rng, days), np.ones(days), 0.95) for _ in range(samples)]
    outside = np.mean([not i.low <= truth <= i.high for i in found])
    return outside, np.mean([i.lower(0.9) < truth for i in found])


@pytest.mark.parametrize(
    ("draw", "truth", "outside", "above"),
    # Student's t alone: 7.3 % and 15.8 %, 11.6 % and 21.3 %, 8.7 % and 18.7 %.
    [
        pytest.param(lambda rng, n: rng.exponential(size=n), 1, 0.05, 0.13, id="exponential"),
        pytest.param(lambda rng, n: rng.lognormal(0, 1, n), np.exp(0.5), 0.07, 0.17, id="lognormal"),
        pytest.param(
            lambda rng, n: rng.lognormal(0, 1.5, (n, 20)).mean(axis=1),
            np.exp(1.125),
            0.07,
            0.165,
            id="sums of lognormal",
        ),
    ],
)
def test_intervals_hold_for_heavy_tails(draw, truth, outside, above):
    found = share_beyond(draw, truth, days=28)
    assert found[0] <= outside
    assert found[1] <= above


def test_intervals_of_a_symmetric_heavy_tail_are_no_narrower_than_they_should_be():
    outside, above = share_beyond(lambda rng, n: rng.standard_t(2.5, n), 0, days=28)
    assert 0.02 <= outside <= 0.055
    assert 0.08 <= above <= 0.115
