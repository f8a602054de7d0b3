"""The data's own clock, when a few rows have a wrong date."""

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.domain.data.clock import Span, at_most, days_of, span_of
from trueup.domain.data.periods import Period

JANUARY = pd.date_range("2024-01-01", "2024-03-10 23:00", freq="h")


def span(*times: object, period: Period = "week") -> Span:
    flat = pd.concat(
        [pd.Series(pd.to_datetime(pd.Index(np.atleast_1d(t)), format="ISO8601")) for t in times], ignore_index=True
    )
    found = span_of(days_of(flat.astype("datetime64[us]"), pd.Series(1, flat.index)), period)
    assert found is not None
    return found


def test_all_rows_of_a_steady_table_count():
    assert span(JANUARY) == Span(datetime(2024, 1, 1), datetime(2024, 3, 10, 23))


@pytest.mark.parametrize("period", ["day", "week", "month"])
@pytest.mark.parametrize("wrong", [["2025-01-10"], ["2204-03-01"], ["2025-01-10", "2031-05-05"]])
def test_rows_of_a_later_year_are_set_aside(wrong, period):
    found = span(JANUARY, wrong, period=period)
    assert (found.last, found.after, found.before) == (datetime(2024, 3, 10, 23), len(wrong), 0)
    assert f"up to {wrong[-1]}, far" in str(found)


def test_rows_of_1970_are_set_aside_and_said():
    found = span(["1970-01-01", "1970-01-01 00:00:05"], JANUARY, "2099-01-01")
    assert (found.first, found.last) == (datetime(2024, 1, 1), datetime(2024, 3, 10, 23))
    assert (found.before, found.after) == (2, 1)
    assert str(found) == (
        "2 rows before 2024-01-01, back to 1970-01-01, far from all others and "
        "1 row after 2024-03-10, up to 2099-01-01, far from all others"
    )


def test_rows_after_a_pause_count_once_they_are_more_than_a_few():
    later = pd.date_range("2024-09-02", periods=24, freq="h")
    few, more = span(JANUARY, later[:5]), span(JANUARY, later)
    assert (few.last, few.after) == (datetime(2024, 3, 10, 23), 5)
    assert (more.last, more.after) == (later[-1].to_pydatetime(), 0)


def test_a_gap_as_long_as_others_of_the_table_is_nothing_special():
    sparse = pd.date_range("2020-01-06", "2024-01-01", freq="28D")
    assert span(sparse, period="week").after == 0
    weekdays = pd.bdate_range("2024-01-01", "2024-06-28")
    assert span(weekdays, pd.bdate_range("2024-07-08", periods=1), period="week").after == 0


def test_of_few_rows_nobody_knows_what_is_plausible():
    assert span("2024-01-01", "2024-01-02", "2025-05-05").last == datetime(2025, 5, 5)


@given(
    st.lists(st.integers(0, 400 * 86_400), min_size=1, max_size=60),
    st.lists(st.integers(-20_000, 40_000), max_size=3),
    st.sampled_from(["day", "week", "month"]),
)
def test_what_counts_and_what_is_set_aside_are_all_rows(seconds, days, period):
    begin = datetime(2024, 1, 1)
    times = sorted([begin + timedelta(seconds=s) for s in seconds] + [begin + timedelta(days=d) for d in days])
    found = span(times, period=period)
    inside = [t for t in times if found.first <= t <= found.last]
    assert (times.index(inside[0]), len(times) - len(inside)) == (found.before, found.before + found.after)
    assert len(inside) >= 30 * max(found.before, found.after)


def test_what_is_planned_has_not_happened_unless_all_is_planned():
    past, now, later = datetime(2024, 1, 1), datetime(2024, 6, 1), datetime(2025, 1, 1)
    assert at_most(later, now, past) == now
    assert at_most(datetime(2024, 5, 1), now, past) == datetime(2024, 5, 1)
    assert at_most(datetime(2026, 1, 1), now, later) == datetime(2026, 1, 1)
