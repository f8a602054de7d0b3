"""Calendar periods: half-open, without gaps, and complete only when they have ended."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.domain.data.periods import complete_periods, period_of
from trueup.domain.types import Window

PERIODS = st.sampled_from(["day", "week", "month"])
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1))


@given(MOMENTS, PERIODS)
def test_a_moment_lies_in_its_period_and_so_does_the_period_start(moment, period):
    window = period_of(moment, period)
    assert moment in window
    assert period_of(window.start, period) == window
    assert period_of(window.end, period).start == window.end


@given(MOMENTS, st.timedeltas(timedelta(0), timedelta(days=100)), PERIODS)
def test_complete_periods_follow_on_each_other_and_end_in_time(start, span, period):
    end = start + span
    found = complete_periods(start, end, period)
    assert all(a.end == b.start for a, b in pairwise(found))
    assert all(w.end <= end for w in found)
    following = period_of(found[-1].end if found else start, period)
    assert following.end > end
    if found:
        assert start in found[0]


@pytest.mark.parametrize(
    ("moment", "period", "start", "end"),
    [
        (datetime(2024, 2, 29, 23, 59, 59, 999999), "day", datetime(2024, 2, 29), datetime(2024, 3, 1)),
        (datetime(2024, 3, 3, 23), "week", datetime(2024, 2, 26), datetime(2024, 3, 4)),  # a Sunday
        (datetime(2024, 3, 4), "week", datetime(2024, 3, 4), datetime(2024, 3, 11)),  # a Monday
        (datetime(2024, 12, 31, 12), "month", datetime(2024, 12, 1), datetime(2025, 1, 1)),
        (datetime(1, 1, 2), "week", datetime(1, 1, 1), datetime(1, 1, 8)),
        (datetime(9999, 12, 31, 12), "day", datetime(9999, 12, 31), datetime.max),
    ],
)
def test_known_periods(moment, period, start, end):
    assert period_of(moment, period) == Window(start, end)


def test_a_period_is_complete_at_its_very_end():
    start = datetime(2024, 1, 1)
    assert len(complete_periods(start, datetime(2024, 2, 1), "month")) == 1
    assert complete_periods(start, datetime(2024, 1, 31, 23, 59), "month") == []
    assert complete_periods(start, start - timedelta(days=90), "month") == []
