"""Time-ordered folds."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.domain.learning.splits import time_folds
from trueup.errors import NotEnoughData

START = np.datetime64("2024-01-01", "us")


def at(hours):
    return START + np.asarray(hours, dtype="timedelta64[h]").astype("timedelta64[us]")


def test_each_fold_is_judged_on_what_came_after_it():
    folds = time_folds(at(range(100)), at(range(100)), folds=2)
    assert [(len(train), len(test)) for train, test in folds] == [(60, 20), (80, 20)]
    for train, test in folds:
        assert train.max() < test.min()


def test_labels_that_came_too_late_are_not_learned_from():
    event, known = at(range(100)), at(np.arange(100) + 24)
    ((train, test),) = time_folds(event, known, folds=1)
    assert test.tolist() == list(range(80, 100))
    assert train.tolist() == list(range(56))  # known at 79:00 or before, the test begins at 80:00


def test_a_label_known_when_the_test_begins_is_too_late():
    known = at(range(100)).copy()
    known[3] = at([80])[0]
    ((train, _),) = time_folds(at(range(100)), known, folds=1)
    assert 3 not in train


def test_rows_of_one_moment_stay_together():
    event = at(np.repeat([0, 1, 2, 3], 25))
    for train, test in time_folds(event, event, folds=3):
        assert not set(event[train]) & set(event[test])


def test_a_fold_without_known_labels_is_left_out():
    event = at(range(100))
    known = at(np.arange(100) + 70)
    folds = time_folds(event, known, folds=2)
    assert len(folds) == 1
    assert folds[0][0].tolist() == list(range(10))


@pytest.mark.parametrize("n", [0, 1, 50])
def test_no_fold_at_all_says_what_to_do(n):
    with pytest.raises(NotEnoughData, match=r"raise train\.search_rows if it limits them"):
        time_folds(at(range(n)), at(np.arange(n) + 1000), folds=2)


@given(
    rows=st.lists(st.tuples(st.integers(0, 500), st.integers(0, 100)), min_size=20, max_size=120),
    folds=st.integers(1, 5),
)
def test_nothing_known_later_is_ever_learned_from(rows, folds):
    hours, delays = (np.array(column) for column in zip(*rows, strict=True))
    event, known = at(hours), at(hours + delays)
    try:
        found = time_folds(event, known, folds)
    except NotEnoughData:
        return
    tested = np.concatenate([test for _, test in found])
    assert len(tested) == len(set(tested))
    for train, test in found:
        assert known[train].max() < event[test].min()
    for (_, earlier), (_, later) in itertools.pairwise(found):
        assert event[earlier].max() < event[later].min()
