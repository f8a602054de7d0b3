"""The branching of the loop, for every state there is."""

import pytest

from trueup.domain.monitoring.diagnosis import NAMES
from trueup.loop.turn import State, next_action


@pytest.mark.parametrize("diagnosis", [None, *NAMES])
@pytest.mark.parametrize("has_champion", [True, False])
def test_what_follows_on_a_diagnosis(has_champion, diagnosis):
    found = next_action(State(has_champion, (diagnosis,) if diagnosis else ()))
    if diagnosis == "data_broken":
        assert found is None  # never learn from a broken batch, not even the first time
    elif not has_champion:
        assert found == "first"
    elif diagnosis in {"decayed", "stale"}:
        assert found == diagnosis
    else:
        assert found is None  # a shift of the inputs alone is no reason, nor is not knowing


@pytest.mark.parametrize(
    ("findings", "action"),
    [
        (("unknown", "stale"), "stale"),  # its age is known all the same
        (("unknown", "stale", "shifted"), "stale"),
        (("unknown", "decayed"), None),  # what rests on labels does not count where they do not suffice
        (("unknown", "shifted"), None),
        (("data_broken", "stale"), None),
        (("data_broken", "unknown", "stale"), None),
        (("decayed", "stale"), "decayed"),
    ],
)
def test_what_follows_on_several_findings(findings, action):
    assert next_action(State(has_champion=True, findings=findings)) == action


@pytest.mark.parametrize(
    ("findings", "asking", "due", "action"),
    [
        (("decayed", "stale"), ["stale"], None, "stale"),
        (("decayed", "stale", "shifted"), [], None, None),
        (("shifted",), ["shifted"], None, "shifted"),
        (("unknown", "shifted"), ["decayed", "shifted"], None, "shifted"),  # inputs are known without labels
        (("unknown", "decayed"), ["decayed"], None, None),
        (("healthy",), ["decayed"], "schedule", "schedule"),
        ((), [], "grown", "grown"),
        (("decayed",), ["decayed"], "grown", "decayed"),
        (("data_broken",), ["decayed"], "schedule", None),
    ],
)
def test_a_config_says_which_findings_ask_and_what_else_does(findings, asking, due, action):
    assert next_action(State(True, findings, asking, due)) == action
