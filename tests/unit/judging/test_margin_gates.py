"""Gates for what averages hide: fairness, calibration, behaviour and budget, each passing, failing and unable to tell."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.judging.test_gates import make_case, moments, sigmoid, verdict_of
from trueup.config.sections.training import EvaluateConfig
from trueup.config.tasks import Task
from trueup.domain.judging.gates.behaviour import Behaviour, DirectionCheck, InvarianceCheck, measured
from trueup.domain.judging.gates.budget import Budget, Cost
from trueup.domain.judging.gates.calibration import Calibration
from trueup.domain.judging.gates.fairness import Fairness, by_group
from trueup.domain.judging.gates.margin import status
from trueup.domain.judging.metrics import metrics
from trueup.domain.records import to_plain
from trueup.domain.types import Status

QUICK = EvaluateConfig(resamples=300)


def grouped(shift=0.0, rows=4000, champion_shift=0.0, **changes):
    """Two large groups and a tiny one; the models add these to the log-odds of group b."""
    rng = np.random.default_rng(3)
    odds = rng.normal(-0.5, 1.2, rows)
    group = rng.choice(["a", "b"], rows).astype(object)
    group[::500] = "tiny"
    y = (rng.random(rows) < sigmoid(odds)).astype(float)
    predictions = {
        "challenger": sigmoid(odds + shift * (group == "b")),
        "champion": sigmoid(odds + champion_shift * (group == "b")),
    }
    values = {"y": y, "predictions": predictions, "groups": pd.DataFrame({"sex": group}), "evaluate": QUICK}
    return make_case(rows=rows, **{**values, **changes})


def fairness(metric="selection_rate", margin=0.1, **more):
    return Fairness(columns=["sex"], metric=metric, margin=margin, **more)


class TestFairness:
    @pytest.mark.parametrize(
        "metric", ["selection_rate", "true_positive_rate", "false_positive_rate", "equalized_odds"]
    )
    def test_groups_that_are_treated_alike_pass_and_others_fail(self, metric):
        fair, unfair = (verdict_of(fairness(metric, 0.12), grouped(shift)) for shift in (0.0, 1.5))
        assert (fair.status, unfair.status) == (Status.PASS, Status.FAIL), (fair, unfair)
        assert "sex=a" in unfair.reasons[0]
        assert "above the margin 0.12" in unfair.reasons[0]
        assert fair.figures["too_small"] == ["sex=tiny"]
        json.dumps(to_plain([fair, unfair]), allow_nan=False)

    def test_bias_and_loss_of_groups(self):
        for metric in ("mean_error", "loss"):
            assert verdict_of(fairness(metric, 0.1), grouped()).status is Status.PASS
            assert verdict_of(fairness(metric, 0.1), grouped(2.0)).status is Status.FAIL

    def test_the_figures_are_fairlearns(self):
        from fairlearn import metrics as fair

        case = grouped(0.7)
        chosen = case.predictions["challenger"] >= 0.5
        told = verdict_of(fairness("equalized_odds", 0.5), case).figures
        names = case.groups["sex"].to_numpy()
        large = names != "tiny"
        wanted = fair.equalized_odds_difference(case.y[large], chosen[large], sensitive_features=names[large])
        assert max(p["apart"] for p in told["pairs"]) == pytest.approx(wanted)
        frame = by_group(case, fairness("selection_rate"), "sex")
        assert frame.loc["sex=a", "selection_rate"] == pytest.approx(chosen[names == "a"].mean())

    def test_an_interval_that_holds_the_margin_is_unclear_and_the_config_says_what_then(self):
        case = grouped(0.4)
        apart = verdict_of(fairness(margin=1), case).figures["pairs"][0]["apart"]
        held, passed = (verdict_of(fairness(margin=apart, when_unclear=w), case) for w in ("hold", "pass"))
        assert (held.status, passed.status) == (Status.INCONCLUSIVE, Status.PASS)
        assert passed.reasons[0].startswith("unclear, and let pass: ")

    def test_small_groups_block_only_when_required(self):
        assert verdict_of(fairness(required=["sex=a", "sex=b"]), grouped()).ok
        refused = verdict_of(fairness(required=["sex=tiny"], when_unclear="pass"), grouped())
        assert refused.status is Status.INCONCLUSIVE
        assert refused.reasons == ("too small to tell, but required: sex=tiny",)

    def test_one_group_alone_or_few_blocks_cannot_be_judged(self):
        alone = grouped(groups=pd.DataFrame({"sex": ["a"] * 4000}))
        few = grouped(event_time=moments(4000, days=9))
        for case in (alone, few, grouped(groups=pd.DataFrame())):
            assert verdict_of(fairness(), case).status is Status.INCONCLUSIVE

    def test_against_the_champion_only_what_is_worse_counts(self):
        gate = fairness(margin=0.05, against="champion")
        assert verdict_of(gate, grouped(1.5, champion_shift=1.5)).status is Status.PASS
        worse = verdict_of(gate, grouped(1.5))
        assert worse.status is Status.FAIL
        assert "further apart than under the champion" in worse.reasons[0]
        first = grouped(1.5)
        first = make_case(**{**vars_of(first), "predictions": {"challenger": first.predictions["challenger"]}})
        assert verdict_of(gate, first).reasons == ("no champion yet",)

    def test_a_prediction_that_is_no_number_never_passes(self):
        case = grouped()
        broken = case.predictions["challenger"].copy()
        broken[case.groups["sex"] == "b"] = np.nan
        other = grouped(predictions={**case.predictions, "challenger": broken})
        assert not verdict_of(fairness("mean_error"), other).ok

    def test_regression_groups(self):
        rng = np.random.default_rng(0)
        y, group = rng.normal(50, 10, 4000), rng.choice(["a", "b"], 4000)
        for off, found in ((0.0, Status.PASS), (3.0, Status.FAIL)):
            said = {"challenger": y + rng.normal(size=4000) + off * (group == "b")}
            case = grouped(task=Task.REGRESSION, y=y, predictions=said, groups=pd.DataFrame({"sex": group}))
            assert verdict_of(fairness("mean_error", 1.0), case).status is found

    @pytest.mark.slow
    def test_many_equal_groups_are_rarely_called_unfair(self):
        """The largest of many noisy distances is no proof: eight groups that are alike, no margin."""
        failed = 0
        for seed in range(30):
            rng = np.random.default_rng(seed)
            groups = pd.DataFrame({"sex": rng.integers(0, 8, 4000)})
            failed += verdict_of(fairness(margin=0.0), grouped(groups=groups, seed=seed)).status is Status.FAIL
        print(f"{failed} of 30 called unfair")
        assert failed <= 4


def vars_of(case):
    return {n: getattr(case, n) for n in ("y", "groups", "evaluate", "event_time", "predictions")}


class TestCalibration:
    def test_a_calibrated_model_passes_and_a_biased_one_fails(self):
        for metric in ("ece", "bias"):
            gate = Calibration(metric=metric, margin=0.05)
            assert verdict_of(gate, grouped()).status is Status.PASS
            assert verdict_of(gate, biased(0.15)).status is Status.FAIL

    def test_the_error_is_the_metrics_less_its_bias(self):
        case = grouped(0.8)
        told = verdict_of(Calibration(margin=0.5), case).figures
        raw = metrics(Task.BINARY, case.y, case.predictions["challenger"])["ece"]
        assert 0.5 * raw < told["challenger"] <= raw * (1 + 1e-9)

    def test_unclear_and_too_few_blocks(self):
        found = verdict_of(Calibration(metric="bias", margin=1), biased(0.1)).figures["error"]
        at = Calibration(metric="bias", margin=found)
        assert verdict_of(at, biased(0.1)).status is Status.INCONCLUSIVE
        few = grouped(event_time=moments(4000, days=9))
        assert verdict_of(Calibration(margin=0.5), few).status is Status.INCONCLUSIVE

    def test_against_the_champion(self):
        gate = Calibration(metric="bias", margin=0.05, against="champion")
        both = biased(0.15)
        p = both.predictions["challenger"]
        slightly = grouped(predictions={"challenger": p, "champion": np.clip(p - 0.01, 0, 1)})
        assert verdict_of(gate, slightly).status is Status.PASS
        assert verdict_of(gate, both).status is Status.FAIL
        assert "above the champion's" in verdict_of(gate, both).reasons[0]

    def test_regression_and_multiclass(self):
        rng = np.random.default_rng(0)
        y = rng.normal(50, 10, 4000)
        gate = Calibration(margin=1.0)
        for off, found in ((0.0, Status.PASS), (-3.0, Status.FAIL)):
            case = grouped(task=Task.REGRESSION, y=y, predictions={"challenger": y + off + rng.normal(size=4000)})
            assert verdict_of(gate, case).status is found
        sharp = rng.dirichlet([1, 1, 1], 4000)
        labels = np.array([rng.choice(["a", "b", "c"], p=row) for row in sharp])
        over = sharp**4 / (sharp**4).sum(axis=1, keepdims=True)
        for metric in ("ece", "bias"):
            gate = Calibration(metric=metric, margin=0.05)
            case = grouped(task=Task.MULTICLASS, y=labels, predictions={"challenger": sharp}, classes=["a", "b", "c"])
            assert verdict_of(gate, case).status is Status.PASS
        over_sure = grouped(task=Task.MULTICLASS, y=labels, predictions={"challenger": over}, classes=["a", "b", "c"])
        assert verdict_of(Calibration(margin=0.05), over_sure).status is Status.FAIL

    def test_calibrated_models_rarely_fail_even_without_much_of_a_margin(self):
        failed = sum(verdict_of(Calibration(margin=0.005), fresh(seed)).status is Status.FAIL for seed in range(30))
        print(f"{failed} of 30 calibrated models failed")
        assert failed <= 4


def fresh(seed):
    rng = np.random.default_rng(seed)
    p = sigmoid(rng.normal(-0.5, 1.2, 4000))
    return grouped(y=(rng.random(4000) < p).astype(float), predictions={"challenger": p}, seed=seed)


def biased(by):
    case = grouped()
    p = case.predictions["challenger"]
    return grouped(predictions={"challenger": np.clip(p + by, 0, 1), "champion": p})


RAISE = DirectionCheck(kind="direction", column="x", raise_by=1, never="lower", tolerance=0.01, share=0.1)
STILL = InvarianceCheck(kind="invariance", column="x", shift=1, at_most=0.01, share=0.1)
TIMES = moments(1000)


def count(check, moves, changed=None):
    return measured(check, moves, np.ones(1000) if changed is None else changed, TIMES, QUICK)


def behave(check, *found):
    return verdict_of(Behaviour(checks=[check]), make_case(behaviour=found))


class TestBehaviour:
    def test_the_share_of_violations_decides_and_the_reason_tells_it(self):
        moves = np.zeros(1000)
        moves[:900:10] = -0.5
        assert behave(RAISE, count(RAISE, moves)).status is Status.PASS
        moves[1:900:10] = -0.5
        failed = behave(RAISE, count(RAISE, moves))
        assert failed.status is Status.FAIL
        assert "violated in 180 of 1,000 rows, 18.0%" in failed.reasons[0]
        assert "the largest move the wrong way is 0.5" in failed.reasons[0]
        assert behave(RAISE, count(RAISE, -moves)).ok  # raised, as it may be
        json.dumps(to_plain(failed), allow_nan=False)

    def test_never_higher_and_invariance(self):
        down = RAISE.model_copy(update={"never": "higher"})
        assert behave(down, count(down, np.full(1000, 0.1))).status is Status.FAIL
        assert behave(STILL, count(STILL, np.full(1000, 0.005))).status is Status.PASS
        assert behave(STILL, count(STILL, np.full(1000, 0.02))).status is Status.FAIL

    def test_only_rows_that_were_changed_count(self):
        changed = (np.arange(1000) < 50).astype(float)
        moves = np.where(changed, 0.5, 0.0)
        assert behave(STILL, count(STILL, moves, changed)).status is Status.FAIL

    def test_what_was_not_made_changed_nothing_or_is_no_number_never_passes(self):
        assert behave(RAISE).status is Status.INCONCLUSIVE
        assert behave(RAISE, count(RAISE, np.zeros(1000), np.zeros(1000))).status is Status.INCONCLUSIVE
        assert behave(RAISE, count(STILL, np.zeros(1000))).status is Status.INCONCLUSIVE
        for check in (RAISE, STILL):
            assert behave(check, count(check, np.full(1000, np.nan))).status is Status.FAIL

    @given(st.integers(0, 999), st.floats(0, 1))
    def test_a_looser_limit_never_fails_what_a_tighter_one_lets_pass(self, seed, more):
        moves = np.random.default_rng(seed).normal(0, 0.1, 1000)
        looser = STILL.model_copy(update={"at_most": STILL.at_most + more})
        assert count(looser, np.abs(moves)).violations <= count(STILL, np.abs(moves)).violations


MEASURED = Cost(batch=1000, repeats=30, rows=1000, mib=2.0, median_ms=4.0, p95_ms=5.0, machine="here")


@pytest.mark.parametrize(
    ("limits", "change", "found"),
    [
        ({"max_mib": 3}, {}, Status.PASS),
        ({"max_mib": 1}, {}, Status.FAIL),
        ({"max_ms": 6}, {}, Status.PASS),
        ({"max_mib": 3, "max_ms": 4}, {}, Status.FAIL),
        ({"max_ms": 6}, {"p95_ms": float("nan")}, Status.FAIL),
        ({"max_ms": 6, "batch": 10}, {}, Status.INCONCLUSIVE),
    ],
)
def test_budgets(limits, change, found):
    verdict = verdict_of(Budget(**limits), make_case(budget=[replace(MEASURED, **change)]))
    assert verdict.status is found
    if found is Status.FAIL:
        assert "above" in verdict.reasons[0]


@given(st.floats(allow_nan=True), st.floats(allow_nan=True), st.floats(0, 1))
def test_bounds_pass_only_below_the_margin_and_fail_only_above(lower, upper, margin):
    found = status(lower, upper, margin)
    if found is Status.PASS:
        assert upper <= margin
    if found is Status.FAIL:
        assert lower > margin
    if np.isnan(upper):
        assert found is not Status.PASS
