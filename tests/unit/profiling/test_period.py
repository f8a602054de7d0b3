"""How a loop over a new table is paced."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from trueup.config.tasks import Task
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.judging.gates.paired import Paired
from trueup.domain.profiling.period import Power, Spans, pace_of

DAY = timedelta(days=1)
GATE = Paired()


def moments(days: int, a_day: int, *, weekdays: bool = False, dated: bool = False) -> pd.Series:
    """The rows' moments of a steady table."""
    known = pd.date_range("2016-01-01", periods=days, freq="D")
    known = known[known.weekday < 5] if weekdays else known
    at = np.linspace(0, 86_000, a_day).astype(int) if not dated else np.zeros(a_day, int)
    return pd.Series(np.repeat(known, a_day) + pd.to_timedelta(np.tile(at, len(known)), "s"))


def paced(when: pd.Series, share: float | None = None, takes: timedelta = DAY, **said: object) -> Spans:
    """The pace for an amount, or for an outcome of two of which one has a share."""
    if share is None:
        return pace_of(when, said.get("wished"), takes, pd.Series(np.arange(len(when), dtype=float)), Task.REGRESSION)
    y = pd.Series((np.arange(len(when)) % max(round(1 / share), 2) == 0).astype(float))
    return pace_of(when, said.get("wished"), takes, y, Task.BINARY)


def test_one_row_a_day_makes_gate_windows_of_sixty_rows_and_blocks_of_a_day():
    found = paced(moments(5_700, 1, dated=True))
    assert (found.period, found.block) == ("month", DAY)
    assert found.gate_window >= 60 * DAY
    assert found.min_history >= 240 * DAY
    assert found.reference >= 365 * DAY
    assert timedelta(days=5_700) / found.stale_after <= 61


def test_a_gate_window_of_weekdays_holds_blocks_enough_beside_holidays():
    found = paced(moments(700, 20, weekdays=True, dated=True))
    assert found.gate_window / DAY * 5 / 7 >= MIN_BLOCKS + 3


def test_rows_that_carry_the_day_only_make_months_however_many_they_are():
    assert paced(moments(400, 300, dated=True)).period == "month"
    assert paced(moments(400, 300)).period != "month"


def test_a_rare_outcome_makes_a_longer_gate_window():
    often, rare = paced(moments(120, 250), 0.3), paced(moments(120, 250), 0.001)
    assert rare.gate_window > often.gate_window
    assert rare.min_history > often.min_history


def test_a_champion_is_not_stale_for_the_time_that_outcomes_take():
    soon, late = paced(moments(400, 40)), paced(moments(400, 40), takes=90 * DAY)
    assert late.stale_after == soon.stale_after + 90 * DAY
    assert late.reference >= soon.reference + 90 * DAY


def test_no_more_history_is_waited_for_than_the_table_holds_outcomes_of():
    takes, table = 110 * DAY, moments(300, 30)
    found = paced(table, takes=takes)
    assert found.min_history + 2 * found.gate_window + takes <= table.max() - table.min()
    assert paced(moments(30, 40), takes=25 * DAY).min_history >= 7 * DAY


@given(
    days=st.integers(20, 4_000),
    a_day=st.integers(1, 40),
    weekdays=st.booleans(),
    dated=st.booleans(),
    share=st.sampled_from([None, 0.5, 0.01]),
    wished=st.sampled_from([None, "day", "week", "month"]),
)
def test_spans_always_fit_each_other(days, a_day, weekdays, dated, share, wished):
    found = paced(moments(days, a_day, weekdays=weekdays, dated=dated), share, wished=wished)
    shortest = {"day": 1, "week": 7, "month": 28}[found.period] * DAY
    assert min(shortest, found.gate_window, found.min_new_days * DAY / 2) / found.block >= MIN_BLOCKS
    assert found.min_new_days * DAY <= found.stale_after
    assert found.gate_window <= max(days / 6 * DAY, shortest, 14 * DAY)


@pytest.mark.parametrize("gain", [0.01, 0.05])
def test_a_gain_that_a_span_shows_passes_in_four_of_five_cases(gain):
    """The figure that `new` tells, against made-up daily differences judged as the paired gate does."""
    rng, noise = np.random.default_rng(1), 0.2
    power = Power(0.0, noise / np.sqrt(400), judged=400 * DAY, every=30 * DAY)
    span = power.span_for(gain)
    assert span is not None
    n = round(span / DAY)
    seen = rng.normal(gain, noise, (4_000, n))
    mean, error = seen.mean(axis=1), seen.std(axis=1, ddof=1) / np.sqrt(n)
    passes = (mean >= GATE.min_gain) & (mean > norm.ppf(GATE.confidence) * error)
    assert abs(passes.mean() - 0.8) < 0.03


@pytest.mark.parametrize("noise", [0.35, 0.4, 0.5])
def test_a_noisy_table_is_judged_on_longer_spans_until_a_gain_worth_having_is_shown(noise):
    """`noise` is that of a day's difference, as a share of the loss."""
    when = moments(1_000, 40)
    y = pd.Series(np.arange(len(when), dtype=float))
    power = Power(0.01, noise / np.sqrt(1_000), judged=1_000 * DAY, every=30 * DAY)
    usual = pace_of(when, None, DAY, y, Task.REGRESSION)
    found = pace_of(when, None, DAY, y, Task.REGRESSION, power.wanted)
    assert power.shown(usual.stale_after) > 0.05
    assert power.shown(found.stale_after) <= 0.05
    assert found.stale_after <= 1_000 / 8 * DAY
    assert found.stale_after >= found.gate_window >= usual.gate_window
    assert found.min_history >= 2 * found.gate_window
    assert found.min_new_days * DAY <= found.stale_after


@pytest.mark.parametrize("error", [0.001, 1.0])
def test_a_table_keeps_its_pace_where_that_shows_enough_and_where_no_other_would(error):
    when = moments(1_000, 40)
    y = pd.Series(np.arange(len(when), dtype=float))
    power = Power(0.01, error, judged=1_000 * DAY, every=30 * DAY)
    assert pace_of(when, None, DAY, y, Task.REGRESSION, power.wanted) == pace_of(when, None, DAY, y, Task.REGRESSION)
