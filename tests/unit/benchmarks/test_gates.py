"""The benchmark of rules of promotion: a record made by hand, on which it is known what each rule ought to do."""

import numpy as np
import pytest

from benchmarks.gate_measures import measure, summary
from benchmarks.gate_records import ATTEMPTS, LEVELS, ROLES, WORSE, Record
from benchmarks.gate_rules import Rule, play
from trueup.domain.judging.gates.paired import Paired

PERIOD, PERIODS, FIRST, ROWS = 28, 14, 2, 50.0
CHANGE = 5 * PERIOD


def made(seed=0):
    """Models fitted before the change lose a half more after it; those fitted later less, the more of it they have seen; baselines learn nothing."""
    rng = np.random.default_rng(seed)
    blocks = PERIOD * PERIODS
    at = np.arange(0, blocks + 1, PERIOD // 2)
    seen, end = np.maximum(at - 1, 0), len(at) - 1
    level = np.where(np.arange(blocks) < CHANGE, 0.4, 0.6) + rng.normal(0, 0.01, blocks)
    losses = np.full((len(ROLES), end, blocks), np.nan)
    for cut in range(2 * FIRST, end):
        learned = np.clip((at[cut] - CHANGE) / (3 * PERIOD), 0, 1)
        gained = 0.2 * learned * (np.arange(blocks) >= CHANGE)
        for role, worse in enumerate((0.0, 0.05, 0.3)):
            noise = rng.normal(0, 0.01, blocks)
            losses[role, cut] = np.where(
                np.arange(blocks) >= seen[cut], (level - gained * (role == 0) + worse + noise) * ROWS, np.nan
            )
    champion = losses[0, 2 * FIRST]
    twins = champion + rng.normal(0, 0.01, (1, ATTEMPTS, blocks)) * ROWS
    worse = np.full((1, len(WORSE), len(LEVELS), ATTEMPTS, blocks), np.nan)
    for level_number, much in enumerate(LEVELS):
        worse[0, 0, level_number] = twins[0] * (1 + much)
    return Record(
        "made", "abrupt", "choosing", seed, 2 * FIRST, 1, np.full(blocks, ROWS), at, seen, losses,
        np.array([2 * FIRST]), twins, worse,
    )  # fmt: skip


def test_always_keeps_all_of_the_gain_and_never_none():
    always, never = (measure([made()], Rule(kind, kind)) for kind in ("always", "never"))
    assert (always["kept"]["made"]["kept"], never["kept"]["made"]["kept"]) == (1, 0)
    assert never["kept"]["made"]["attainable"] > 0.1
    assert always["promotions"] == PERIODS - FIRST - 1
    assert never["promotions"] == never["refusals"] == 0


def test_the_shipped_gates_keep_the_gain_of_a_change_and_let_nothing_worse_pass():
    found = measure([made(seed) for seed in range(3)], Rule("shipped"))
    assert found["kept"]["made"]["kept"] > 0.85
    assert summary(found)["counted"] == int(found["kept"]["made"]["counts"])
    assert found["wrong_shown"] == 0
    assert found["planted"]["20%"] == found["planted"]["5%"] == 0
    assert found["twins"]["per_attempt"] <= 0.5


def test_a_rule_that_asks_for_more_than_there_is_to_gain_promotes_nothing():
    strict = Rule("strict", paired=Paired(min_gain=0.9))
    found = play(made(), strict)
    assert not found.promoted
    assert len(found.refused) == PERIODS - FIRST - 1


def test_a_change_is_answered_within_two_periods():
    found = play(made(), Rule("shipped"))
    after = [now for now, *_ in found.promoted if now > 2 * CHANGE / PERIOD]
    assert after[0] <= 2 * CHANGE / PERIOD + 4


@pytest.mark.parametrize("kind", ["gates", "before"])
def test_rules_on_the_same_record_decide_the_same_again(kind):
    assert play(made(), Rule(kind, kind)) == play(made(), Rule(kind, kind))
