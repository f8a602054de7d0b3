"""A challenger meets traffic: no rows never advance it, a fault sends it back, and many looks cost no equal one its place."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.rollout_traffic import World, draw, loses, play
from trueup.config.sections.promotion import CanaryStep, RolloutConfig
from trueup.domain.judging.rollout import ALPHA, Compared, Traffic, judge, log_evidence, loss_level, radius
from trueup.domain.types import Verdict

PLAIN = RolloutConfig()
SOON = RolloutConfig(shadow={"rows": 200}, canary=[{"share": 0.5, "rows": 100}])
FAULTS = {
    "errors": World(raises=0.03),
    "latency": World(slow=4),
    "non_finite": World(nan=0.01),
    "shift": World(shift=0.5),
}


def good(rows, answered=0, **more):
    """Counts without any fault; the champion's predictions have the standard deviation 1."""
    alike = Compared(requests=rows, champion_rows=rows, champion_squares=float(rows))
    plain = {"rows": rows, "answered": answered, "requests": rows, "timed": rows, "outputs": (alike,)}
    return Traffic(**{**plain, **more})


def test_without_rows_it_waits_and_says_for_what():
    judged = judge(PLAIN, [Traffic()])
    assert judged.action == "wait"
    assert judged.reasons[0] == "0 of 500 rows of the shadow"
    judged = judge(PLAIN, [good(500), good(9000, 299)])
    assert (judged.action, judged.reasons) == ("wait", ("299 of 300 rows of the canary with 5 % of the keys",))


def test_each_step_with_enough_rows_advances():
    steps = [good(500), good(9000, 300), good(4000, 1000)]
    assert [judge(PLAIN, steps[: k + 1]).action for k in range(3)] == ["advance"] * 3


def test_labels_are_needed_before_the_last_step_only():
    config = PLAIN.model_copy(update={"labels": 50})
    steps = [good(500), good(9000, 300), good(4000, 1000)]
    assert judge(config, steps[:2]).action == "advance"
    assert judge(config, steps, labels=49).reasons == ("49 of 50 rows with matured labels",)
    assert judge(config, steps, labels=50).action == "advance"


def test_a_figure_beyond_its_limit_waits_until_it_is_significant():
    judged = judge(PLAIN, [good(500, failures=7)])
    assert judged.action == "wait"
    assert "7 of 500 requests (1.4 %, the limit is 1 %); not significant yet" in judged.reasons[0]
    judged = judge(PLAIN, [good(5000, failures=100)])
    assert judged.action == "roll back"
    assert judged.culprit.check == "errors"
    assert judged.culprit.figures["figure"] == 0.02


def test_a_fault_that_begins_with_the_canary_is_not_hidden_by_the_shadow():
    assert judge(PLAIN, [good(100_000), good(300, 300, failures=30)]).culprit.check == "errors"
    assert judge(PLAIN, [good(100_000), good(300, 300, failures=4)]).action == "wait"


def test_a_process_that_stopped_the_canary_rolls_back():
    judged = judge(PLAIN, [good(10_000), good(40, 40, failures=20, stopped=1)])
    assert judged.action == "roll back"
    assert "a server process stopped the canary" in judged.reasons[0]


def test_a_challenger_that_answers_otherwise_than_a_constant_champion_goes_back():
    other = Compared(60, 6.0, 0.6, 60, 6.0, 0.6)
    assert judge(PLAIN, [good(60, outputs=(other,))]).culprit.check == "shift"
    same = Compared(500, 0.0, 0.0, 500, 50.0, 5.0)
    assert judge(PLAIN, [good(500, outputs=(same,))]).action == "advance"


def test_requests_that_are_alike_do_not_make_a_small_difference_large():
    alike = Compared(500, 5.0, 0.1, 500, 50.0, 5.02)  # a difference of .01; the requests' deviation is .006
    assert judge(PLAIN, [good(500, outputs=(alike,))]).culprit.check == "shift"
    assert judge(PLAIN, [good(500, outputs=(replace(alike, usual=0.1),))]).action == "advance"


def test_one_class_of_several_that_moves_is_enough():
    moved = Compared(500, 300.0, 250.0, 500, 0.0, 500.0)
    still = good(500).outputs[0]
    assert judge(PLAIN, [good(500, outputs=(still, still, moved))]).culprit.check == "shift"


def test_a_significant_loss_rolls_back_at_any_step():
    worse = Verdict.failed("probation", "significantly worse")
    assert judge(PLAIN, [good(3)], worse).reasons == ("significantly worse",)


@pytest.mark.parametrize("check", FAULTS)
def test_planted_faults_are_found_by_the_right_test(check):
    ended = [play(FAULTS[check], PLAIN, seed) for seed in range(10)]
    assert {(e.action, e.by) for e in ended} == {("roll back", check)}


def test_an_equal_challenger_becomes_champion():
    assert {play(World(), SOON, seed).action for seed in range(10)} == {"advance"}


@pytest.mark.slow
@pytest.mark.parametrize("limit", [0.001, 0.01, 0.5])
def test_evidence_against_a_share_at_its_limit_is_rare_however_often_one_looks(limit):
    rng, rows, alpha = np.random.default_rng(1), 4000, 0.05
    reached = 0
    for _ in range(200):
        hits = np.cumsum(rng.random(rows) < limit)
        reached += max(log_evidence(int(hits[n - 1]), n, limit) for n in range(20, rows, 40)) >= -np.log(alpha)
    assert reached <= 0.05 * 200 + 2.33 * np.sqrt(0.05 * 0.95 * 200)


def test_the_confidence_sequence_covers_the_mean_however_often_one_looks():
    rng, missed = np.random.default_rng(2), 0
    for _ in range(200):
        values = rng.exponential(1.0, 3000)
        n = np.arange(50, 3000, 25)
        mean, square = np.cumsum(values)[n - 1] / n, np.cumsum(values**2)[n - 1] / n
        spread = np.sqrt(square - mean**2)
        missed += any(abs(m - 1) > radius(int(k), float(s), 0.05) for k, m, s in zip(n, mean, spread, strict=True))
    assert missed <= 0.05 * 200 + 2.33 * np.sqrt(0.05 * 0.95 * 200)


def test_the_looks_at_the_loss_share_their_error():
    assert sum(loss_level(0.02, k) for k in range(1, 10_000)) < 0.02 < 0.05 - ALPHA + 1e-9


def test_the_shares_of_a_canary_have_to_grow():
    with pytest.raises(ValueError, match="must grow from step to step"):
        RolloutConfig(canary=[CanaryStep(share=0.2, rows=1), CanaryStep(share=0.1, rows=1)])


def test_made_up_traffic_counts_what_it_draws():
    counted = draw(World(raises=0.5, nan=0.5), SOON, 1, 1000, np.random.default_rng(0)).counted()
    assert counted.requests == 1000
    assert 400 < counted.failures < 600
    assert 200 < counted.answered < 300 > counted.outputs[0].requests > 200


@pytest.mark.thorough
def test_of_400_equal_challengers_few_go_back():
    rolled = sum(play(World(), PLAIN, s).action == "roll back" or loses(World(), PLAIN, s) for s in range(400))
    assert rolled <= 14  # of 400: with 15 the upper 95 % bound of the share would be above 6 %
