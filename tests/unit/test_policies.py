"""Policies as people write them, and as a config has them."""

from datetime import timedelta

import pytest

from tests import streams
from trueup.config.load import parse_model
from trueup.errors import UsageError
from trueup.replay.policies import Policy, applied, merged, parse

CONFIG = parse_model(streams.CONFIG)


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("frozen", {"findings": [], "every": None, "new_rows": None}),
        ("every 1 week", {"findings": [], "every": timedelta(days=7)}),
        ("Every 1 Month, cooldown 3 days", {"every": timedelta(days=30), "cooldown": timedelta(days=3)}),
        ("on decay, on drift", {"findings": ["decayed", "shifted"]}),
        ("new rows 20_000", {"findings": [], "new_rows": 20_000}),
        ("on decay, stale 60 days", {"findings": ["decayed", "stale"]}),
    ],
)
def test_what_starts_a_retrain(text, rules):
    found = applied(CONFIG, parse(text)).retrain
    assert {name: getattr(found, name) for name in rules} == rules


def test_what_it_trains_on_and_who_judges_it():
    found = applied(
        CONFIG, parse("every 1 week, trailing 90 days, no gate, no refit, labels after 30 days, batches of a day")
    )
    assert found.train.window == timedelta(days=90)
    assert found.promote.gates == []
    assert not found.promote.refit
    assert found.ingest.label.known_after == timedelta(days=30)
    assert found.ingest.period == "day"
    assert applied(CONFIG, parse("stale 2 months")).monitor.stale_after == timedelta(days=60)
    assert applied(CONFIG, parse("every 1 week, expanding")).train.window == "expanding"


def test_what_a_policy_does_not_say_it_leaves_as_it_is():
    found = applied(CONFIG, parse("on decay"))
    assert found.train == CONFIG.train
    assert found.promote == CONFIG.promote
    assert found.ingest == CONFIG.ingest
    assert found.monitor.decay == CONFIG.monitor.decay


def test_all_that_is_no_clause_is_told_at_once_with_what_there_is():
    with pytest.raises(UsageError) as told:
        parse("every tuesday, no mercy, on decay")
    said = str(told.value)
    assert "'every tuesday', 'no mercy' is no clause" in said
    assert "`every SPAN`" in said
    with pytest.raises(UsageError, match="nothing is no clause"):
        parse("  ")


def test_a_policy_that_makes_no_config_says_where():
    with pytest.raises(UsageError, match=r"makes no config of toy: retrain\.cooldwon"):
        applied(CONFIG, Policy("typo", {"retrain": {"cooldwon": "1 day"}}))


def test_the_block_can_be_pasted_into_the_config():
    policy = parse("every 1 week, no gate, trailing 60 days")
    without = "\n".join(
        line
        for line in streams.CONFIG.splitlines()
        if not line.startswith(
            (
                "  gate_window",
                "  min_new_days",
                "promote:",
                "monitor:",
                "  min_matured",
                "train:",
                "  min_history",
                "  families",
                "  trials",
                "  folds",
                "  parameters",
            )
        )
    )
    pasted = parse_model(f"{without}\n{policy.block}")
    wanted = applied(parse_model(without), policy)
    assert pasted == wanted


def test_merging_adds_up_findings_and_replaces_the_rest():
    assert merged({"a": {"x": [1]}}, {"a": {"x": [2]}}) == {"a": {"x": [2]}}
    assert merged({"findings": ["decayed"]}, {"findings": ["decayed", "stale"]}) == {"findings": ["decayed", "stale"]}
