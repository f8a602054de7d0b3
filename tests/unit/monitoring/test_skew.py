"""Served and offline features are the same to the last bit, or the row differs."""

import numpy as np
import pytest

from trueup.domain.monitoring.skew import compare


def rows(n, differing, limit=0.01):
    offline = np.arange(2.0 * n).reshape(n, 2)
    served = offline.copy()
    served[:differing, 1] = np.nextafter(served[:differing, 1], np.inf)
    return compare([(served, offline)], ["a", "b"], 3, limit)


def test_a_last_bit_is_a_difference_and_two_missing_values_are_none():
    found = rows(400, 8)
    assert (found.rows, found.differing, found.features) == (400, 8, {"b": 0.02})
    assert found.skewed
    assert found.reason == (
        "8 of 400 served rows (2.0%, serve.max_skew is 1.0%) have other features offline: b in 2.0%"
    )
    missing = np.array([[np.nan, -0.0]])
    assert compare([(missing, np.array([[np.nan, 0.0]]))], ["a", "b"], 3, 0.0).differing == 0
    assert compare([(missing, np.array([[1.0, 0.0]]))], ["a", "b"], 3, 0.0).features == {"a": 1.0}


@pytest.mark.parametrize(
    ("n", "differing", "limit", "skewed"),
    [
        (400, 4, 0.01, False),  # the limit itself
        (199, 100, 0.01, False),  # too few
        (30, 30, 0.01, True),  # all of them
        (29, 29, 0.01, False),
        (200, 200, 1.0, False),  # never
        (0, 0, 0.0, False),
    ],
)
def test_a_share_beyond_the_limit_is_a_finding_on_enough_rows(n, differing, limit, skewed):
    assert rows(n, differing, limit).skewed is skewed
