"""Loss against cost: who is dominated, whom to take, and that nothing is claimed which is noise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.domain.bootstrap import MIN_BLOCKS
from trueup.domain.frontier import Contest, choose, dominated, split

ROWS = np.full(60, 100.0)
rng = np.random.default_rng(7)
NOISE = rng.normal(0, 2, 60)  # of a day's sum: the same days for all


def contest(**policies):
    """Policies by mean loss of a row and cost, each with little noise of its own on the noise of the days."""
    own = np.random.default_rng(3)
    sums = {n: ROWS * loss + NOISE + own.normal(0, 0.2, 60) for n, (loss, _) in policies.items()}
    return Contest(sums, ROWS, {n: cost for n, (_, cost) in policies.items()})


def test_a_real_gain_is_taken_although_it_costs():
    found = choose(contest(frozen=(0.50, 0), monthly=(0.47, 10), weekly=(0.469, 100)))
    assert found.recommended == "monthly"
    assert found.best in found.level
    assert "frozen" not in found.level


def test_noise_is_no_reason_to_spend():
    found = choose(contest(frozen=(0.5, 0), monthly=(0.49999, 10), weekly=(0.49998, 100)))
    assert found.recommended == "frozen"


def test_of_equally_cheap_ones_the_better_is_taken():
    assert choose(contest(a=(0.5, 1), b=(0.4, 1))).recommended == "b"


def test_with_few_blocks_nothing_is_shown():
    few = contest(frozen=(0.50, 0), monthly=(0.47, 10)).part(slice(0, MIN_BLOCKS - 1))
    assert choose(few).recommended == "frozen"


figures = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.tuples(st.floats(0, 1), st.floats(0, 100)), min_size=1, max_size=8
)


@given(figures)
@settings(max_examples=200, deadline=None)
def test_the_frontier_is_what_nobody_dominates(policies):
    means, costs = ({n: pair[k] for n, pair in policies.items()} for k in (0, 1))
    worse = dominated(means, costs)
    front = policies.keys() - worse
    assert front
    for a in front:
        assert not any(means[b] < means[a] and costs[b] < costs[a] for b in policies)
    for a in worse:  # by one that is itself on the frontier
        assert any(means[b] <= means[a] and costs[b] <= costs[a] for b in front)


@pytest.mark.parametrize("blocks", [5, 19, 24, 25, 60])
def test_choosing_and_judging_each_need_blocks_enough(blocks):
    parts = split(blocks)
    if parts is None:
        assert blocks < 25
        return
    first, rest = (len(range(blocks)[part]) for part in parts)
    assert min(first, rest) >= MIN_BLOCKS
    assert first + rest == blocks
