"""A config is read, or all of its mistakes are told at once."""

from pathlib import Path

import pytest

from trueup.config.load import load_model, model_names, parse_model
from trueup.errors import ConfigError, UnknownModel

GOOD = """
model: churn
task: binary
ingest:
  source: {kind: files, path: data/*.csv}
  time: day
  key: [customer]
  label: {column: left, known_after: 30 days}
validate:
  expectations:
    - {type: expect_column_values_to_not_be_null, kwargs: {column: age}}
features:
  numeric: [age]
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_model(text, "churn.yaml")
    return caught.value.problems


def test_a_short_config_is_enough():
    config = parse_model(GOOD)
    assert config.ingest.label.known_after.days == 30
    assert config.input_columns == ["customer", "day", "age"]


def test_a_config_cannot_be_changed_later():
    with pytest.raises(ValueError, match="frozen"):
        parse_model(GOOD).features.numeric = ["other"]


def test_all_mistakes_come_at_once_with_line_and_mend():
    text = GOOD.replace("binary", "binari").replace("time: day", "tme: day").replace("30 days", "30 dais")
    found = problems(text)
    assert [p.split(":")[0] for p in found] == [
        "line 3, task",
        "line 4, ingest.time",
        "line 6, ingest.tme",
        "line 8, ingest.label.known_after",
    ]
    assert "'binary', 'multiclass' or 'regression'" in found[0]
    assert "add `time:`" in found[1]
    assert "did you mean `time`?" in found[2]
    assert "'30 dais' is not a span of time" in found[3]


def test_a_key_that_stands_twice_is_a_mistake():
    assert problems(GOOD + "task: regression\n") == ["line 14, task: stands twice (first in line 3); remove one"]


def test_text_that_is_no_yaml_names_the_place():
    assert problems("model: [churn\ntask: binary")[0].startswith("line 2, column 5: not YAML")


@pytest.mark.parametrize("text", ["", "- a\n- b", "churn"])
def test_something_else_than_keys_is_refused(text):
    assert "expected keys" in problems(text)[0]


def test_an_empty_suite_is_refused():
    text = GOOD.replace(
        "  expectations:\n    - {type: expect_column_values_to_not_be_null, kwargs: {column: age}}",
        "  expectations: []",
    )
    assert "validate.expectations" in problems(text)[0]


def test_the_outcome_cannot_be_a_feature():
    assert "left is known only with the label" in problems(GOOD.replace("[age]", "[age, left]"))[0]


@pytest.mark.parametrize(
    ("name", "mend"),
    [
        ("New York", "did you mean America/New_York?"),
        ("utc", "did you mean UTC?"),
        ("America", "write one like UTC"),  # a folder of zones
        ("../etc/passwd", "write one like UTC"),
        ("xyz", "write one like UTC"),
    ],
)
def test_an_unknown_time_zone_is_a_mistake(name, mend):
    (found,) = problems(GOOD.replace("  time: day\n", f"  time: day\n  timezone: {name}\n"))
    assert found.startswith(f"line 7, ingest.timezone: there is no time zone '{name}'; ")
    assert mend in found


@pytest.mark.parametrize(
    ("period", "evaluate", "place", "mend"),
    [
        ("week", "", "line 7, ingest.period: a week holds 7 of evaluate.block", "12 hours"),
        ("week", "evaluate: {resamples: 300}\n", "line 7, ingest.period: a week holds 7", "12 hours"),
        ("day", "evaluate:\n  block: 6 hours\n", "line 16, evaluate.block: a day holds 4", "2 hours"),
        ("month", "evaluate:\n  block: 7 days\n", "line 16, evaluate.block: a month holds 4", "2 days"),
        ("month", "evaluate:\n  block: 0 days\n", "line 16, evaluate.block: must be longer", "1 day"),
    ],
)
def test_a_batch_must_hold_blocks_enough_to_be_diagnosed(period, evaluate, place, mend):
    text = GOOD.replace("  time: day\n", f"  time: day\n  period: {period}\n") + evaluate
    (found,) = problems(text)
    assert found.startswith(place)
    assert f"`{mend}`" in found
    block = f"evaluate: {{block: {mend}}}\n"
    assert parse_model(text.removesuffix(evaluate) + block).ingest.period == period
    both = problems(text.replace("task: binary", "task: binari"))
    assert both[-1] == found  # together with the other mistakes
    assert len(both) == 2


def test_a_label_needs_a_moment_at_which_it_is_known():
    assert "exactly one of known_after and known_at" in problems(GOOD.replace(", known_after: 30 days", ""))[0]


def test_unknown_gate_and_unknown_key_within_it():
    found = problems(GOOD + "promote:\n  gates:\n    - {kind: pared}\n    - {kind: paired, margn: 1}\n")
    assert found[0] == "line 16, promote.gates[1]: 'pared' is not one of 'paired', 'baseline', 'absolute', 'slices'"
    assert found[1] == "line 17, promote.gates[2].margn: unknown key; did you mean `margin`?"


def test_unknown_model_names_the_nearest(tmp_path: Path):
    (tmp_path / "churn.yaml").write_text(GOOD)
    with pytest.raises(UnknownModel, match=r"did you mean churn\?"):
        load_model(tmp_path, "chrun")


def test_the_file_and_its_model_have_one_name(tmp_path: Path):
    (tmp_path / "other.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match="must be the same"):
        load_model(tmp_path, "other")


def test_the_shipped_configs_are_right():
    configs = Path(__file__).parents[2] / "configs"
    assert model_names(configs) == ["flight_air_time", "flight_delays"]
    for name in model_names(configs):
        assert load_model(configs, name).model == name
