"""Storm control as pure rules: whatever is asked, and however it ends, the limits hold."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.retraining import BudgetConfig, RetrainConfig
from trueup.domain.retraining.limits import Step, before_planning, before_training, rejections

START = datetime(2013, 1, 1)
GATE = timedelta(days=14)
LIMITS = RetrainConfig(
    cooldown=timedelta(days=2), budget=BudgetConfig(starts=4, per=timedelta(days=20)), max_rejections=3
)
requests = st.lists(
    st.tuples(st.integers(-3, 96), st.sampled_from(["promoted", "rejected", "rejected", "held"])), max_size=60
)


def asked(found, hours, limits=LIMITS):
    """One request, as the loop treats it: the labels are known until then, and the data are new."""
    as_of = START + timedelta(hours=hours)
    refusal = before_planning(found, as_of, limits)
    return as_of, refusal or before_training(found, as_of, f"data of {as_of}", GATE, limits)


@given(requests)
def test_no_storm_of_requests_breaks_the_limits(storm):
    found, now = [], 0
    for step, outcome in storm:
        now = max(0, now + step)
        as_of, refusal = asked(found, now)
        if refusal is None:
            found.append(Step(outcome, as_of, run_id=str(len(found)), judged_until=as_of, attempt=f"data of {as_of}"))
    starts = [s.as_of for s in found]
    assert starts == sorted(starts)
    for i, first in enumerate(starts):
        assert all(later - first >= LIMITS.cooldown for later in starts[i + 1 :])
        assert sum(first <= s < first + LIMITS.budget.per for s in starts) <= LIMITS.budget.starts
    for i, step in enumerate(found):
        if rejections(found[:i]) >= LIMITS.max_rejections:
            assert step.as_of - max(s.judged_until for s in found[:i]) >= GATE


@given(st.integers(0, 400), st.integers(1, 100))
def test_a_burst_gives_one_start(hours, size):
    found = []
    for number in range(size):
        as_of, refusal = asked(found, hours)
        if refusal is None:
            found.append(Step("rejected", as_of, run_id=str(number), judged_until=as_of, attempt="x"))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("kinds", "count"),
    [
        (["rejected", "rejected"], 2),
        (["rejected", "held", "refused", "rejected"], 2),
        (["rejected", "promoted", "rejected"], 1),
        (["rejected", "rejected", "promoted", "rolled_back"], 3),
        (["promoted", "rolled_back", "promoted", "rolled_back"], 2),
        (["rejected", "rejected", "cleared"], 0),
        (["rejected", "override", "rolled_back"], 1),
    ],
)
def test_what_counts_as_a_rejection_in_a_row(kinds, count):
    assert rejections([Step(kind, START) for kind in kinds]) == count


def test_monthly_retrains_are_never_held_back_by_the_defaults():
    limits, found = RetrainConfig(), []
    for month in range(1, 13):
        as_of = datetime(2013, month, 1)
        assert before_planning(found, as_of, limits) is None
        assert before_training(found, as_of, str(month), GATE, limits) is None
        found.append(Step("rejected", as_of, run_id=str(month), judged_until=as_of, attempt=str(month)))


def test_an_approval_later_is_no_second_start_and_the_same_data_are_not_tried_twice():
    found = [
        Step("pending", START, run_id="a", judged_until=START, attempt="x"),
        Step("promoted", START, run_id="a", judged_until=START, attempt="x"),
    ]
    limits = RetrainConfig(cooldown=timedelta(0), budget=BudgetConfig(starts=2))
    assert before_planning(found, START + timedelta(days=1), limits) is None
    assert before_training(found, START + GATE, "x", GATE, limits).rule == "same_data"
    assert before_planning(found, START - timedelta(days=1), limits).rule == "past"
