"""Policies as people write them, and as a config has them."""

from datetime import datetime, timedelta

import pytest

from tests import streams
from trueup.config.durations import Months, earlier, later
from trueup.config.edit import with_changes, write_changes
from trueup.config.load import parse_model
from trueup.config.policies import Policy, applied, block, merged, parse, parse_all
from trueup.config.schema import ModelConfig
from trueup.errors import ConfigError, UsageError, WorkError
from trueup.files import write_text

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
    assert "'every tuesday', 'no mercy' is not a clause" in said
    assert "`every SPAN`" in said
    with pytest.raises(UsageError, match="nothing is not a clause"):
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
    pasted = parse_model(f"{without}\n{block(parse_model(without), policy)}")
    wanted = applied(parse_model(without), policy)
    assert pasted == wanted


def test_merging_adds_up_findings_and_replaces_the_rest():
    assert merged({"a": {"x": [1]}}, {"a": {"x": [2]}}) == {"a": {"x": [2]}}
    assert merged({"findings": ["decayed"]}, {"findings": ["decayed", "stale"]}) == {"findings": ["decayed", "stale"]}


def test_values_in_braces_are_a_policy_each_and_remember_where_they_come_from():
    found = parse_all(["frozen", "every {1 week, 1 month}, cooldown {0, 7} days"])
    assert [p.name for p in found] == [
        "frozen",
        "every 1 week, cooldown 0 days",
        "every 1 week, cooldown 7 days",
        "every 1 month, cooldown 0 days",
        "every 1 month, cooldown 7 days",
    ]
    assert [p.family for p in found] == ["", *["every {1 week, 1 month}, cooldown {0, 7} days"] * 4]
    with pytest.raises(UsageError, match="'on decay' is given twice"):
        parse_all(["on decay", "on decay"])


GATED = """promote:
  gate_window: 14 days
  min_new_days: 14
  gates:
    - kind: paired     # the one that decides
      margin: 0.004
    - kind: baseline
"""


def gated(text=GATED):
    """The toy's config with gates of its own."""
    own = streams.CONFIG[: streams.CONFIG.index("promote:")]
    after = streams.CONFIG[streams.CONFIG.index("monitor:") :]
    return f"{own}{text}{after}"


def test_the_paired_gate_is_changed_where_it_stands():
    config = parse_model(gated())
    policy = parse("every 1 week, margin 0.01, gain 0.02, gate on brier, gate window 10 days, new days 7")
    found = applied(config, policy).promote
    assert [g.kind for g in found.gates] == ["paired", "baseline"]
    assert (found.gates[0].margin, found.gates[0].min_gain, found.gates[0].metric) == (0.01, 0.02, "brier")
    assert (found.gate_window, found.min_new_days) == (timedelta(days=10), 7)
    assert "margin: 0.01" in block(config, policy)
    assert "baseline" in block(config, policy)
    thresholds = applied(config, parse("on decay, drop 0.05, 1 of 4 batches, on drift, drifted 0.5")).monitor
    assert (thresholds.decay.min_drop, thresholds.decay.batches, thresholds.decay.of_last) == (0.05, 1, 4)
    assert thresholds.drift.share == 0.5


def test_a_gate_that_is_not_there_is_added_and_one_that_is_taken_away_cannot_be_changed():
    config = parse_model(gated("promote:\n  gate_window: 14 days\n  min_new_days: 14\n  gates: [{kind: baseline}]\n"))
    assert [g.kind for g in applied(config, parse("on decay, margin 0.01")).promote.gates] == ["paired", "baseline"]
    with pytest.raises(UsageError, match="`no gate` leaves nothing"):
        parse("on decay, no gate, margin 0.01")


def test_a_config_says_which_policies_and_its_mistakes_are_told_with_their_lines():
    config = parse_model(streams.CONFIG + "replay:\n  policies: [frozen, every 1 month]\n  price: {per_hour: 0.5}\n")
    assert config.replay.policies == ["frozen", "every 1 month"]
    with pytest.raises(ConfigError) as told:
        parse_model(streams.CONFIG + "replay:\n  policies:\n    - on tuesday\n    - frozen\n    - frozen\n")
    said = str(told.value)
    last = streams.CONFIG.count("\n")
    assert f"line {last + 3}, replay.policies[1]: policy 'on tuesday': 'on tuesday' is not a clause" in said
    assert f"line {last + 5}, replay.policies[3]: the policy 'frozen' occurs twice" in said


def test_what_is_written_into_a_config_leaves_its_comments_and_makes_the_config_that_was_meant(tmp_path):
    (tmp_path / "toy.yaml").write_text(gated())
    policy = parse("on decay, cooldown 7 days, margin 0.01, trailing 60 days")
    path = write_changes(tmp_path, "toy", policy.changes)
    text = path.read_text()
    assert "# the one that decides" in text
    assert parse_model(text) == applied(parse_model(gated()), policy)
    assert [p.name for p in tmp_path.iterdir()] == ["toy.yaml"]
    assert len(text.splitlines()) <= len(gated().splitlines()) + 8  # nothing else is written anew
    assert write_changes(tmp_path, "toy", policy.changes).read_text() == text


def test_the_gates_that_are_meant_by_default_are_written_where_one_of_them_changes(tmp_path):
    (tmp_path / "toy.yaml").write_text(streams.CONFIG)
    policy = parse("on decay, margin 0.01")
    _, found = with_changes(tmp_path, "toy", policy.changes)
    assert found == applied(parse_model(streams.CONFIG), policy)


def test_a_change_that_makes_no_config_leaves_the_file_as_it_was(tmp_path):
    (tmp_path / "toy.yaml").write_text(gated())
    with pytest.raises(ConfigError, match="with the changes"):
        write_changes(tmp_path, "toy", {"promote": {"gate_window": "2 days"}})
    assert (tmp_path / "toy.yaml").read_text() == gated()


def test_frozen_is_who_starts_nothing_whatever_else_it_says():
    assert parse("never").frozen
    assert parse("frozen, batches of a week, trailing 90 days").frozen
    assert not any(parse(text).frozen for text in ("every 1 week", "on decay", "new rows 10", "stale 3 days"))


def test_what_is_said_twice_is_refused_for_one_would_silently_win():
    with pytest.raises(UsageError, match="`every SPAN` occurs twice"):
        parse("every 1 week, every 2 weeks")
    with pytest.raises(
        ConfigError, match=r"replay\.policies\[2\]: the policy 'on decay, cooldown 7 days' occurs twice"
    ):
        parse_model(
            streams.CONFIG + 'replay:\n  policies: ["on decay, cooldown {7, 30} days", "on decay, cooldown 7 days"]\n'
        )


def test_what_becomes_nothing_goes_with_its_comment_and_a_link_stays_one(tmp_path):
    text = streams.CONFIG.replace(
        "monitor:\n", "monitor:\n  stale_after: 30 days   # so that one is tried each month\n"
    )
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "toy.yaml"
    real.write_text(text)
    real.chmod(0o640)
    (tmp_path / "toy.yaml").symlink_to(real)
    write_changes(tmp_path, "toy", parse("on decay").changes)
    assert (tmp_path / "toy.yaml").is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert "stale_after" not in real.read_text()
    assert "each month" not in real.read_text()
    assert parse_model(real.read_text()) == applied(parse_model(text), parse("on decay"))


def test_what_cannot_be_written_is_said_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(WorkError, match="cannot be written"):
        write_text(tmp_path / "file" / "toy.yaml", "model: toy\n")
    (tmp_path / "toy.yaml").mkdir()
    with pytest.raises(WorkError, match="cannot be written"):
        write_text(tmp_path / "toy.yaml", "model: toy\n")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "toy.yaml"]


def test_a_month_is_a_calendar_month_where_a_config_takes_one():
    meant = applied(CONFIG, parse("every 1 month, trailing 3 months, stale 1 year, half-life 30 days"))
    assert (meant.retrain.every, meant.train.window, meant.monitor.stale_after) == (Months(1), Months(3), Months(12))
    assert meant.train.half_life == timedelta(days=30)
    dumped = meant.model_dump(mode="json", by_alias=True)
    assert (dumped["retrain"]["every"], dumped["train"]["window"]) == ("1 month", "3 months")
    again = ModelConfig.model_validate(dumped)
    assert isinstance(again.retrain.every, Months)
    assert isinstance(again.train.window, Months)
    assert later(datetime(2013, 1, 31), Months(1)) == datetime(2013, 2, 28)
    assert later(datetime(2013, 2, 1), Months(1)) == datetime(2013, 3, 1)
    assert earlier(datetime(2013, 1, 1), Months(3)) == datetime(2012, 10, 1)
    with pytest.raises(UsageError, match="cooldown 1 month"):
        parse("on decay, cooldown 1 month")
