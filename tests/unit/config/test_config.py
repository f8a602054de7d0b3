"""A config is read, or all of its mistakes are told at once."""

import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from trueup.config.durations import parse_duration
from trueup.config.load import load_model, model_names, parse_model
from trueup.domain.data.digest import config_digest, config_text, policy_digest
from trueup.errors import ConfigError, UnknownModel

ROOT = Path(__file__).parents[3]

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
    assert problems(GOOD + "task: regression\n") == ["line 14, task: duplicate key (first on line 3); remove one"]


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


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("key: [customer]", "key: [customer, left]", "line 7, ingest.key[2]"),
        ("time: day", "time: left", "line 6, ingest.time"),
        ("kwargs: {column: age}", "kwargs: {column: left}", "line 11, validate.expectations[1].kwargs.column"),
        ("{column: age}", "{column_list: [age, left]}", "line 11, validate.expectations[1].kwargs.column_list[2]"),
        ("numeric: [age]", "numeric:\n    - age\n    - left", "line 15, features.numeric[2]"),
        ("numeric: [age]", "categorical: [left]", "line 13, features.categorical[1]"),
        ("numeric: [age]", "calendar: {left: [hour]}", "line 13, features.calendar.left"),
        ("numeric: [age]", "history: [{name: h, by: [left], windows: [1 day]}]", "line 13, features.history[1].by[1]"),
        (
            "numeric: [age]",
            "history:\n  - {name: h, by: [[age, left]], windows: [1 day]}",
            "line 14, features.history[1].by[1]",
        ),
        (
            "numeric: [age]",
            "history: [{name: h, of: left, by: [age], windows: [1 day]}]",
            "line 13, features.history[1].of",
        ),
        ("numeric: [age]", "numeric: [age]\nevaluate: {slices: [left]}", "line 14, evaluate.slices[1]"),
    ],
)
def test_the_outcome_cannot_be_an_input_and_no_other_mistake_hides_that(right, wrong, place):
    text = GOOD.replace(right, wrong)
    (found,) = problems(text)
    assert found.startswith(f"{place}: left is known only with the label; ")
    both = problems(text.replace("task: binary", "task: binari").replace("30 days", "30 dais"))
    assert len(both) == 3
    assert found in both


def test_the_moment_at_which_a_label_is_known_cannot_be_an_input():
    text = GOOD.replace("known_after: 30 days", "known_at: told").replace("[age]", "[age, told]")
    assert problems(text) == ["line 13, features.numeric[2]: told is known only with the label; remove it"]


PROTECTED = GOOD.replace("[age]", "[age, income]") + "governance:\n"


def test_no_feature_is_made_of_a_forbidden_column():
    assert problems(PROTECTED + "  forbidden: [inc*, gender]\n") == [
        "line 13, features.numeric[2]: income is in governance.forbidden: no feature may be made of it; remove it"
    ]
    history = PROTECTED + "  forbidden: [shop]\n"
    history = history.replace("[age, income]", "[age]\n  history: [{name: h, by: [shop], windows: [1 day]}]")
    assert "features.history[1].by[1]: shop is in governance.forbidden" in problems(history)[0]


def test_a_forbidden_column_may_be_a_group_of_a_gate_but_not_reach_a_function_of_features():
    kept = PROTECTED.replace("[customer]", "[customer]\n  keep: [gender]") + "  forbidden: [gender]\n"
    kept += "promote:\n  gates: [{kind: fairness, columns: [gender], metric: selection_rate, margin: 0.1}]\n"
    assert parse_model(kept).governance.forbidden == ["gender"]
    (found,) = problems(kept.replace("features:", "features:\n  custom: mine:features"))
    assert "ingest.keep[1]: gender is in governance.forbidden" in found


def test_a_feature_of_personal_data_needs_a_reason():
    text = PROTECTED + "  personal: [income, '*_email']\n"
    (found,) = problems(text)
    assert "income is in governance.personal; remove it, or say in governance.personal_inputs why" in found
    reasoned = text + "  personal_inputs: {income: the loan is sized by it}\n"
    assert parse_model(reasoned).governance.personal_inputs == {"income": "the loan is sized by it"}
    (unserved,) = problems(reasoned + "serve: {}\n")
    assert "income is in governance.personal; name it in serve.personal, too" in unserved
    assert parse_model(reasoned + "serve: {personal: [income]}\n")


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
    ("period", "known_after", "more", "place"),
    [
        ("week", "30 days", "", "line 7, ingest.period: a week holds 7 of evaluate.block"),
        ("week", "30 days", "evaluate: {resamples: 300}\n", "line 7, ingest.period: a week holds 7"),
        ("day", "30 days", "evaluate:\n  block: 6 hours\n", "line 16, evaluate.block: a day holds 4"),
        ("month", "30 days", "evaluate:\n  block: 7 days\n", "line 16, evaluate.block: a month holds 4"),
        # A batch of a month holds blocks enough, and the default gate window does not: all would be held.
        ("month", "1 day", "evaluate:\n  block: 2 days\n", "line 16, evaluate.block: promote.gate_window (14 days) holds 7"),
        ("month", "1 day", "promote:\n  gate_window: 2 days\n", "line 16, promote.gate_window: promote.gate_window (2 days) holds 2"),
        ("week", "1 day", "evaluate: {block: 12 hours}\npromote:\n  gate_window: 4 days\n", "line 17, promote.gate_window: "),
        # Labels come day by day, so 14 days of new ones may be all there is, and the gate window half of them.
        ("month", "30 days", "promote:\n  min_new_days: 14\n", "line 16, promote.min_new_days: half of 14 days"),
        ("week", "1 day", "evaluate: {block: 12 hours}\npromote:\n  min_new_days: 6\n", "line 17, promote.min_new_days: half of 6 days"),
    ],
)  # fmt: skip
def test_a_batch_and_a_gate_window_must_hold_blocks_enough_and_the_mends_work(period, known_after, more, place):
    text = GOOD.replace("  time: day\n", f"  time: day\n  period: {period}\n").replace("30 days", known_after) + more
    (found,) = problems(text)
    assert found.startswith(place)
    both = problems(text.replace("task: binary", "task: binari"))
    assert both[-1] == found  # together with the other mistakes
    assert len(both) == 2
    *_, told = found.partition("; set ")
    mends = [re.findall(r"(\w+)\.(\w+) to `([^`]+)`", mend) for mend in told.split(", or ")]
    assert mends[0][0][:2] == ("evaluate", "block")
    assert len(mends) == (1 if "a month holds" in found or "ingest.period" in found or "a day holds" in found else 2)
    for mend in mends:
        content = yaml.safe_load(text)
        for section, key, value in mend:
            content.setdefault(section, {})[key] = float(value) if key == "min_new_days" else value
        parse_model(yaml.safe_dump(content))


def test_a_block_that_no_gate_window_holds_is_told_once_with_all_that_has_to_grow():
    (found,) = problems(GOOD.replace("30 days", "1 day") + "evaluate: {block: 2 days}\n")
    assert "`1 day`, or promote.gate_window to `20 days` and promote.min_new_days to `40`" in found


def test_new_labels_that_come_by_the_month_are_a_month_at_least():
    text = GOOD.replace("30 days", "1 day") + "promote: {min_new_days: 14}\n"
    assert parse_model(text).promote.min_new_days == 14


@pytest.mark.parametrize(
    "more",
    [
        "promote: {gate_window: -1 day}",
        "promote: {gate_window: 0 days}",
        "monitor:\n  decay: {reference_window: 0 days}",
        "monitor: {stale_after: 0 days}",
        "train: {window: 0 days}",
        "train: {min_history: -1 day}",
        "evaluate: {block: 0 days}",
        "retrain: {cooldown: -1 hour}",
        "retrain: {budget: {per: 0 days}}",
        "promote: {approval: {expires_after: 0 days}}",
    ],
)
def test_a_span_is_not_negative_nor_empty(more):
    (found,) = problems(GOOD + more + "\n")
    *keys, value = re.findall(r"\w+(?=:)|-?\d+ \w+", more)
    assert value
    assert found.startswith(f"line {14 + more.count(chr(10))}, {'.'.join(keys)}: ")
    assert "such as `1 day`" in found


@pytest.mark.parametrize("value", ["NaT", "nan", "-1 day", "30", "1 fortnight", "1e9 days", "999999999999 days", ""])
def test_what_is_no_delay_is_refused_in_its_line(value):
    (found,) = problems(GOOD.replace("known_after: 30 days", f"known_after: {value or 'null, known_at: null'}"))
    assert found.startswith("line 8, ingest.label")


def test_a_history_window_goes_back():
    text = GOOD.replace("numeric: [age]", "history:\n    - {name: h, by: [age], windows: [7 days, -7 days]}")
    (found,) = problems(text)
    assert found.startswith("line 14, features.history[1].windows[2]: must be longer than 0")


@pytest.mark.parametrize(
    ("text", "days"),
    [("28 days", 28), ("1 day 12 hours", 1.5), ("2 weeks", 14), ("90 minutes", 1 / 16), ("90min", 1 / 16), ("36h", 1.5),
     ("0.5 days", 0.5), ("P1DT12H", 1.5), ("P2W", 14), ("0 days", 0)],
)  # fmt: skip
def test_spans_are_read(text, days):
    assert parse_duration(text) / timedelta(days=1) == days


def test_a_window_of_training_is_a_span_or_all_history():
    assert parse_model(GOOD + "train: {window: expanding}\n").train.window == "expanding"
    assert parse_model(GOOD + "train: {window: 56 days}\n").train.window == timedelta(days=56)
    (found,) = problems(GOOD + "train: {window: expandin}\n")
    assert found.startswith("line 14, train.window: 'expandin' is not a span of time")
    assert found.endswith("or `expanding`")


@pytest.mark.parametrize(
    ("task", "metric"), [("binary", "auk"), ("binary", "mse"), ("regression", "auc"), ("multiclass", "ece")]
)
def test_a_bound_needs_a_metric_of_the_task(task, metric):
    text = (
        GOOD.replace("binary", task) + f"promote:\n  gates:\n    - {{kind: absolute, metric: {metric}, at_most: 1}}\n"
    )
    (found,) = problems(text)
    assert found.startswith(f"line 16, promote.gates[1].metric: a {task} task has no metric '{metric}'; it has ")


def test_the_paired_gate_compares_a_metric_of_the_task():
    (found,) = problems(GOOD + "promote:\n  gates:\n    - {kind: paired, metric: accuracy}\n")
    assert found == "line 16, promote.gates[1].metric: a binary task has no metric 'accuracy'; it has loss, brier, auc"


def test_a_bound_that_is_not_a_number_would_let_everything_pass():
    (found,) = problems(GOOD + "promote:\n  gates:\n    - {kind: absolute, metric: auc, at_least: .nan}\n")
    assert found.startswith("line 16, promote.gates[1].at_least: input should be a finite number")


def test_what_only_a_binary_label_has_is_refused_for_others_in_its_line():
    text = GOOD.replace("binary", "regression").replace("known_after", "above: 1, known_after")
    assert problems(text) == ["line 8, ingest.label.above: is for a binary task, this one is regression; remove it"]


def test_a_multiclass_label_has_no_mean():
    text = GOOD.replace("binary", "multiclass").replace(
        "numeric: [age]", "history: [{name: h, by: [age], windows: [1 day]}]"
    )
    (found,) = problems(text)
    assert found.startswith("line 13, features.history[1].aggregate: a multiclass label has no mean")


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path):
    (tmp_path / "churn.yaml").write_bytes(GOOD.replace("[age]", "[âge]").encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        load_model(tmp_path, "churn")
    assert caught.value.problems == ["line 13: not UTF-8 (byte 0xe2); save the file as UTF-8"]


def test_a_config_that_cannot_be_read_is_said(tmp_path: Path):
    (tmp_path / "churn.yaml").mkdir()
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_model(tmp_path, "churn")


@pytest.mark.parametrize(
    ("value", "said"), [("2024-02-30", "line 11, column 84: not YAML: 2024-02-30 cannot be: day"), ("\0", "not YAML")]
)
def test_a_value_that_cannot_be_is_no_yaml(value, said):
    (found,) = problems(GOOD.replace("kwargs: {column: age}", f"kwargs: {{column: age, min_value: {value}}}"))
    assert found.startswith(said)


@pytest.mark.slow
def test_reading_a_config_loads_none_of_the_libraries_that_use_it():
    heavy = {"sklearn", "duckdb", "sqlalchemy", "prefect", "mlflow", "great_expectations", "evidently"}
    code = (
        "import sys; from pathlib import Path; from trueup.config.load import load_model; "
        f"load_model(Path('configs'), 'flight_delays'); print(sorted({heavy!r} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"


def test_a_label_needs_a_moment_at_which_it_is_known():
    assert "exactly one of known_after and known_at" in problems(GOOD.replace(", known_after: 30 days", ""))[0]


def test_unknown_gate_and_unknown_key_within_it():
    found = problems(GOOD + "promote:\n  gates:\n    - {kind: pared}\n    - {kind: paired, margn: 1}\n")
    assert found[0] == (
        "line 16, promote.gates[1]: 'pared' is not one of 'paired', 'baseline', 'absolute', 'slices', "
        "'fairness', 'calibration', 'behaviour', 'budget', 'features'; a gate of your own is named as `module:Class`"
    )
    assert found[1] == "line 17, promote.gates[2].margn: unknown key; did you mean `margin`?"


def test_how_long_things_are_kept_and_tags_are_no_part_of_what_a_decision_rests_on():
    config = parse_model(GOOD + "retention: {reports: 30 days}\ntags: [nightly]\n")
    assert (config.retention.reports.days, config.retention.decisions.days) == (30, 3650)
    assert config_digest(config) == config_digest(parse_model(GOOD))
    assert config_digest(config) != config_digest(parse_model(GOOD + "train: {trials: 3}\n"))


def test_a_config_without_an_export_keeps_the_digests_that_it_had_before_there_was_one():
    """They are part of every decision's id: with others each batch would be retrained for once more."""
    config = parse_model(GOOD)
    assert config_digest(config) == "d98a05a1ecb4c1b246f1821839a75591672d827d10936ac69acffc6b98d5a1e6"
    assert policy_digest(config) == "84992fed2759d7aea378b80420510319f86f48ebea1183acc2ee3742a894f65d"
    with_export = parse_model(GOOD + "export: {}\n")
    assert config_digest(with_export) != config_digest(config)
    assert policy_digest(with_export) == policy_digest(config)
    assert parse_model(config_text(with_export).decode()) == with_export.model_copy(update={"about": ""})


def test_a_rollout_is_a_policy_and_no_reason_to_train_on_the_same_data_once_more():
    plain, with_rollout = (parse_model(GOOD + "serve: {}\n" + more) for more in ("", "promote: {rollout: {}}\n"))
    assert config_digest(with_rollout) == config_digest(plain)
    assert policy_digest(with_rollout) != policy_digest(plain)
    assert parse_model(config_text(with_rollout).decode()).promote.rollout is None


def test_keys_of_a_cluster_are_a_reason_to_train_again_only_if_they_are_set():
    plain, unset, both = (
        parse_model(GOOD + more)
        for more in (
            "",
            "train: {trials_at_once: 1}\n",
            "train: {trials_at_once: 4, families: [lightgbm], dask_workers: 2}\n",
        )
    )
    assert config_digest(unset) == config_digest(plain)
    assert "dask_workers" not in config_text(plain).decode()
    assert parse_model(config_text(both).decode()).train == both.train


def test_several_workers_fit_lightgbm_only():
    (found,) = problems(GOOD + "train: {dask_workers: 2}\n")
    assert "train.dask_workers: fits the family lightgbm only; add it to train.families" in found


def test_methods_for_monotone_features_that_lightgbm_would_replace_are_refused_with_their_line():
    section = (
        "train:\n  families: [lightgbm]\n  min_rowz: 9\n"
        "  parameters:\n    lightgbm:\n      class_weight: balanced\n      monotone_constraints_method: {}\n"
    )
    spread = section + "  dask_workers: 2\n"
    all_features = section + "      feature_fraction_bynode: 1.0\n"
    place = "line 20, train.parameters.lightgbm.monotone_constraints_method: "
    for config, why in (
        (spread, "lightgbm.dask uses the method basic whatever is set here (advanced); remove it, or remove train.dask_workers"),
        (section, "LightGBM uses the method basic instead of advanced unless feature_fraction_bynode is 1"),
    ):  # fmt: skip
        unknown, replaced = problems(GOOD + config.format("advanced"))
        assert "train.min_rowz" in unknown
        assert replaced.startswith(place + why)
    for fine in (spread.format("basic"), section.format("basic"), all_features.format("advanced")):
        assert [one for one in problems(GOOD + fine) if "min_rowz" not in one] == []


def test_a_rollout_needs_traffic():
    (found,) = problems(GOOD + "promote: {rollout: {}}\n")
    assert found == (
        "line 14, promote.rollout: a rollout needs the traffic of `trueup serve`; add `serve: {}`, or remove it"
    )


def test_units_of_inputs_are_no_part_of_what_a_decision_rests_on():
    """Otherwise another word for a unit would be a reason to train on the same data once more."""
    name = parse_model(GOOD).features.numeric[0]
    named, limited = (parse_model(GOOD + f"export: {{{more}}}\n") for more in (f"units: {{{name}: kg}}", "max_kib: 5"))
    assert named.export.units == {name: "kg"}
    assert config_digest(named) == config_digest(parse_model(GOOD + "export: {}\n")) != config_digest(limited)


@pytest.mark.parametrize(
    ("features", "name", "said"),
    [
        ("", "agee", "line 15, export.units.agee: the model has no input of that name; did you mean age?"),
        ("", "income", "line 15, export.units.income: the model has no input of that name; correct or remove it"),
        ("  calendar: {day: [hour]}\n", "day_hour", None),
        ("  history: [{name: rate, by: [customer], windows: [7 days]}]\n", "rate_customer_7d", None),
        ("  custom: mine:features\n", "anything", None),
    ],
)
def test_units_are_those_of_inputs(features, name, said):
    text = f"{GOOD}{features}export:\n  units: {{{name}: years}}\n"
    if said is None:
        assert parse_model(text).export.units == {name: "years"}
    else:
        assert problems(text) == [said]
    assert problems(GOOD + "retention: {snapshots: 0 days}\n")[0].startswith("line 14, retention.snapshots: ")


def test_unknown_model_names_the_nearest(tmp_path: Path):
    (tmp_path / "churn.yaml").write_text(GOOD)
    with pytest.raises(UnknownModel, match=r"did you mean churn\?"):
        load_model(tmp_path, "chrun")


def test_the_file_and_its_model_have_one_name(tmp_path: Path):
    (tmp_path / "other.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match="must be the same"):
        load_model(tmp_path, "other")


def test_the_shipped_configs_are_right():
    configs = ROOT / "configs"
    assert model_names(configs) == ["flight_air_time", "flight_delays"]
    for name in model_names(configs):
        assert load_model(configs, name).model == name


GATES = """promote:
  gates:
    - {kind: fairness, columns: [left, age], metric: mean_absolute_error, threshold: 0.3, margin: 0.1}
    - {kind: calibration, metric: slope, margin: 0.1}
    - {kind: budget}
    - kind: behaviour
      checks:
        - {kind: invariance, column: region, to: [x], at_most: 0.1}
        - {kind: invariance, column: age, at_most: 0.1}
        - {kind: direction, column: age, raise_by: 0, never: down}
"""


def test_all_mistakes_of_the_gates_are_told_at_once():
    found = "\n".join(problems(GOOD + GATES))
    assert "gates[1].metric: a binary task has no metric 'mean_absolute_error'; it has selection_rate" in found
    assert "promote.gates[2].metric: " in found
    assert "promote.gates[1].columns[1]: left is known only with the label" in found
    assert "promote.gates[1].threshold" not in found
    assert "give max_mib or max_ms" in found
    assert "region: no feature depends on it" in found
    assert "exactly one of `to`, `shift` and `shuffle`" in found
    assert "checks[3].raise_by" in found
    assert "checks[3].never" in found


def test_what_gates_judge_by_is_landed_and_is_no_feature():
    gates = "promote: {gates: [{kind: fairness, columns: [region], metric: loss, margin: 0.1}]}\n"
    config = parse_model(GOOD + gates)
    assert "region" in config.input_columns
    assert "region" not in config.features.columns


APART = GOOD.replace(
    "label: {column: left, known_after: 30 days}",
    "label: {column: left, known_at: day, source: {kind: files, path: left.csv}, key: {customer: who}}",
)


def test_outcomes_apart_may_be_known_in_a_column_called_as_the_time_of_the_rows():
    config = parse_model(APART)
    assert config.ingest.label.key == {"customer": "who"}
    assert config.input_columns == ["customer", "day", "age"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "source: {kind: files, path: left.csv}, ",
            "",
            "line 8, ingest.label.key: is for outcomes of a second source",
        ),
        ("{customer: who}", "{client: who}", "ingest.label.key.client: is not a column of ingest.key (customer)"),
        ("[customer]", "[customer, shop]\n  keep: [x]", None),
        ("[customer]", "[customer, who]", "customer and who both map to who in the label source"),
        (
            "{customer: who}",
            "{customer: left}",
            "left is the label source's ingest.label.column, which cannot be part of the key",
        ),
        (
            "[customer]",
            "[customer, day]",
            "day is the label source's ingest.label.known_at, which cannot be part of the key",
        ),
        ("numeric: [age]", "numeric: [age, left]", "left is known only with the label"),
        ("numeric: [age]", "numeric: [age, seen]", None),
        (
            "kind: files, path: left.csv",
            'kind: sql, url: "x://u:p@h", query: q',
            "ingest.label.source.url: holds a password",
        ),
        ("kind: files, path: left.csv", 'kind: sql, url: "x://u:${P}@h", query: q', None),
    ],
)
def test_what_cannot_join_outcomes_to_rows_is_a_mistake(old, new, said):
    text = APART.replace(old, new)
    assert text != APART
    if said is None:
        parse_model(text)
        return
    found = problems(text)
    assert any(said in p for p in found), found


def test_types_that_do_not_go_with_their_use_are_told_at_once():
    types = "types: {age: text, day: text, customer: number, since: text, fee: time, kept: text}\n"
    text = GOOD.replace("  label:", f"  coerce: [fee]\n  {types}  label:")
    text = text.replace("numeric: [age]", "numeric: [age]\n  calendar: {since: [hour]}")
    found = problems(text)
    assert {p.split(" and used as ")[0].split(", ", 1)[1] for p in found} == {
        "ingest.types.age: age is declared as text",
        "ingest.types.day: day is declared as text",
        "ingest.types.customer: customer is declared as number",
        "ingest.types.since: since is declared as text",
        "ingest.types.fee: fee is declared as time",
    }
    assert "features.numeric (which takes number or integer or boolean); change the type" in "".join(found)


def test_an_outcome_that_is_a_number_is_not_declared_as_text():
    text = GOOD.replace("binary", "regression").replace("  label:", "  types: {left: text}\n  label:")
    assert "ingest.types.left: left is declared as text and used as an outcome that is a number" in problems(text)[0]
