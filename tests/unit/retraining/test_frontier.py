"""Loss against cost: who is dominated, whom to take, and that nothing is claimed which is noise."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import streams
from trueup.config.load import parse_model
from trueup.domain.judging.bootstrap import MIN_BLOCKS
from trueup.domain.retraining.frontier import Contest, choose, confirmed, dominated, split
from trueup.replay.phrases import why

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


def test_what_did_not_last_is_not_recommended():
    """Better while it was chosen, and shown to be worse afterwards."""
    rows, costs = np.full(60, 100.0), {"frozen": 0.0, "often": 9.0}
    noise = np.random.default_rng(1).normal(0, 0.5, 60)
    gain = np.where(np.arange(60) < 36, -5.0, 5.0)
    whole = Contest(
        {"frozen": rows * 0.5 + noise, "often": rows * 0.5 + noise + gain + noise[::-1]},
        rows,
        costs,
        frozen="frozen",
    )
    first, rest = (whole.part(p) for p in split(60))
    choice = choose(first)
    assert choice.recommended == "often"
    assert (confirmed(choice, rest).recommended, confirmed(choice, rest).withdrawn) == ("frozen", "often")
    assert confirmed(choice, first) == choice
    assert confirmed(choice, replace(rest, frozen=None)).recommended == "frozen"  # as any other that does better
    said = why(parse_model(streams.CONFIG), whole, confirmed(choice, rest), split(60))
    assert "On the earlier rows `often` lost least" in said
    assert "shown to be worse than `frozen`" in said
    assert said.endswith("So it did not last, and `frozen` is recommended.")


def test_frozen_is_withdrawn_too_where_the_later_rows_show_it_worse():
    rows, costs = np.full(60, 100.0), {"frozen": 0.0, "often": 9.0, "seldom": 3.0}
    noise = np.random.default_rng(1).normal(0, 0.5, (3, 60))
    gain = np.where(np.arange(60) < 36, 0.0, -8.0)
    sums = {
        "frozen": rows * 0.5 + noise[0],
        "often": rows * 0.5 + noise[1] + gain,
        "seldom": rows * 0.5 + noise[2] + gain,
    }
    whole = Contest(sums, rows, costs, frozen="frozen")
    first, rest = (whole.part(p) for p in split(60))
    choice = choose(first)
    assert choice.recommended == "frozen"
    found = confirmed(choice, rest)
    assert (found.recommended, found.withdrawn) == ("seldom", "frozen")  # the cheaper of the two that are level
    said = why(parse_model(streams.CONFIG), whole, found, split(60))
    assert "shown to be worse than `seldom`" in said
    assert "flatter" in said
    assert confirmed(choice, first) == choice
