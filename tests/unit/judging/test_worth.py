"""The gate of features: groups that do harm, cost too much, or do not show what they must."""

import pytest

from tests.unit.config.test_config import GOOD, problems
from tests.unit.judging.test_gates import make_case, verdict_of
from trueup.config.load import parse_model
from trueup.config.sections.features import FeaturesConfig, HistoryConfig
from trueup.domain.judging.gates.worth import Features
from trueup.domain.types import Status
from trueup.ledger.record import Ablated
from trueup.stages.ablation import only


def worth(group, low, high, ms=2.0):
    """A group of features with the interval of its gain."""
    answer = "earns its place" if low > 0 else "harms" if high < 0 else "not shown"
    figures = {"difference": (low + high) / 2, "low": low, "high": high, "confidence": 0.95, "ms": ms}
    return Ablated.model_validate(
        {"group": group, "features": ("f",), "with": 0.4, "without": 0.4, "fitted_on": 100, "answer": answer, **figures}
    )


GAIN, NOTHING, HARM = worth("gain", 0.01, 0.03), worth("nothing", -0.01, 0.02), worth("harm", -0.03, -0.01)


@pytest.mark.parametrize(
    ("limits", "groups", "status", "words"),
    [
        ({}, [GAIN, NOTHING], Status.PASS, "worth their place: gain; no gain shown: nothing"),
        ({}, [NOTHING], Status.PASS, "worth their place: no group for sure; no gain shown: nothing"),
        ({}, [GAIN, HARM], Status.FAIL, "harm does harm: the loss without it is 0.02 below that with it; remove it"),
        ({"must_earn": ["gain"]}, [GAIN, NOTHING], Status.PASS, "worth their place: gain"),
        ({"must_earn": ["nothing"]}, [GAIN, NOTHING], Status.FAIL, "nothing has shown no gain"),
        ({"max_ms": 3}, [GAIN, NOTHING], Status.PASS, "worth their place"),
        ({"max_ms": 1}, [GAIN], Status.FAIL, "gain takes 2 ms for 1,000 rows, above 1 ms; the loss without it is 0.02"),
        ({}, [], Status.INCONCLUSIVE, "set evaluate.ablation"),
        ({"must_earn": ["other"]}, [GAIN], Status.INCONCLUSIVE, "no such group of features: other; it has gain"),
    ],
)
def test_each_group_is_judged_by_gain_and_cost(limits, groups, status, words):
    verdict = verdict_of(Features(**limits), make_case(ablation=groups))
    assert verdict.status is status
    assert words in verdict.reasons[0]


def test_a_config_with_the_gate_has_to_measure():
    gates = "promote:\n  gates: [{kind: baseline}, {kind: features}]\n"
    (found,) = problems(GOOD + gates)
    assert "promote.gates[2].kind: judges what `evaluate.ablation` measures; add `ablation: {}` to `evaluate`" in found
    assert parse_model(GOOD + gates + "evaluate: {ablation: {}}\n").evaluate.ablation is not None


def test_a_group_is_timed_with_nothing_else():
    history = HistoryConfig(name="rate", by=["shop", ["shop", "day"]], windows=["7 days"])
    config = FeaturesConfig(
        numeric=["x", "z"], categorical=["kind"], calendar={"t": ["hour"]}, history=[history], custom="mine:more"
    )
    assert only(config, ["z"]) == FeaturesConfig(numeric=["z"])
    assert only(config, ["kind", "t_hour"]) == FeaturesConfig(categorical=["kind"], calendar={"t": ["hour"]})
    assert only(config, ["rate_shop_day_7d"]).history == [history.model_copy(update={"by": [["shop", "day"]]})]
    assert only(config, ["made_up"]) == FeaturesConfig(custom="mine:more")
    assert only(config, []) is None
