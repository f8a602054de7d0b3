"""Evidence: each row counts once, and every paired difference can be made of sums by block."""

from datetime import datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.domain.judging.bootstrap import paired_interval
from trueup.domain.judging.evidence import Evidence

DAY = timedelta(days=1)
START = np.datetime64("2024-03-01", "us")
ROLES = ("challenger", "champion")


def made(days, seed=0, per_day=20, start=0):
    rng = np.random.default_rng(seed)
    time = START + (np.repeat(np.arange(days) + start, per_day) * 24 * 3600).astype("timedelta64[s]")
    return time, {role: rng.gamma(2, 1, len(time)) for role in ROLES}


def evidence(*args, **changes):
    time, losses = made(*args, **changes)
    return Evidence.of(time, losses, DAY)


def test_the_difference_is_that_of_the_rows():
    time, losses = made(20)
    found = Evidence.of(time, losses, DAY).difference("challenger", "champion", 0.95)
    of_rows = paired_interval(losses["challenger"] - losses["champion"], time, DAY, 0.95)
    assert (found.mean, found.low, found.high) == pytest.approx((of_rows.mean, of_rows.low, of_rows.high))
    assert (found.blocks, found.block_length) == (of_rows.blocks, of_rows.block_length)


def test_rows_of_recent_folds_count_more():
    time, losses = made(4, per_day=1)
    found = Evidence.of(time, losses, DAY).fading(0.5, timedelta(days=2))
    expected = np.average(losses["challenger"], weights=[0.5, 0.5, 1.0, 1.0])
    assert found.mean("challenger") == pytest.approx(expected)


@given(st.integers(1, 9), st.integers(1, 9), st.floats(0.1, 1))
def test_what_a_row_counts_does_not_depend_on_the_number_of_attempts(every, fold, recency):
    """Attempts each few days, all against one champion: the weights are those of one attempt over all days."""
    kept = None
    for end in range(10, 40, every):
        found = evidence(10, start=end - 10)
        found = found if kept is None else found.carrying(kept, "earlier")
        kept = found.fading(recency, fold * DAY)
    age = (kept.numbers[-1] - kept.numbers) // fold
    assert kept.weights == pytest.approx(recency**age)


def test_a_frame_keeps_it():
    found = evidence(12)
    again = Evidence.from_frame(found.to_frame(), DAY, ["run"])
    assert again.difference("challenger", "champion", 0.95) == found.difference("challenger", "champion", 0.95)
    assert again.attempts == ("run",)
    assert (again.start, again.end) == (datetime(2024, 3, 1), datetime(2024, 3, 13))


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 40))
def test_each_block_counts_once_whatever_the_spans(first, second, start):
    old, new = evidence(first), evidence(second, seed=1, start=start)
    found = new.carrying(old, "old")
    assert len(set(found.numbers)) == len(found.numbers)
    assert (np.diff(found.numbers) > 0).all()
    carried = min(first, start)
    assert found.rows.sum() == 20 * (second + carried)
    assert found.attempts == (("old",) if carried else ())
    assert found.losses["champion"][carried:].tolist() == new.losses["champion"].tolist()


def test_what_was_measured_of_other_models_is_not_added():
    old = evidence(5)
    new = Evidence.of(*made(5, start=9), DAY)
    more = Evidence(new.block, new.numbers, new.rows, {**new.losses, "simple": new.losses["champion"]}, new.weights)
    assert more.carrying(old, "old") is more


def test_blocks_of_another_length_cannot_be_added():
    with pytest.raises(ValueError, match="cannot be added"):
        evidence(5, start=9).carrying(Evidence.of(*made(5), timedelta(hours=8)), "old")


def test_no_rows_are_no_evidence():
    with pytest.raises(ValueError, match="no rows"):
        Evidence.of(np.array([], dtype="datetime64[us]"), {"challenger": []}, DAY)
