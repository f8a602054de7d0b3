"""`trueup contract`: written from a model, taken by the standard's schema, and compared with config and data."""

import json
import shutil
from importlib import resources

import pytest
import yaml

from tests import loans, streams
from tests.story import PLAIN, Story

CONFIG = (
    PLAIN.replace("\nfeatures:", "\n  max_missing: {z: 0.25}\nfeatures:", 1)
    + """
serve: {personal: [group]}
export: {}
governance: {owner: Risk team, intended_use: Calls, limitations: [Only for adults]}
"""
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model whose first two batches have landed; tests change copies of it."""
    story = Story(tmp_path_factory.mktemp("made"), streams.Stream(days=14, per_day=40).frame(), CONFIG)
    story.turn(2)
    story.home.close()
    return story.folder


@pytest.fixture
def home(made, tmp_path, command_line):
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return command_line(tmp_path)


def written(trueup, tmp_path):
    file = tmp_path / "configs" / "toy.odcs.yaml"
    done = trueup("contract", "write", "toy", "--out", str(file))
    assert done.code == 0, done.err
    return file


def test_a_contract_has_what_config_and_batches_say_and_is_kept_by_them(home, tmp_path):
    file = written(home, tmp_path)
    contract = yaml.safe_load(file.read_text())
    (table,) = contract["schema"]
    columns = {column["name"]: column for column in table["properties"]}
    assert list(columns) == ["id", "t", "x", "z", "group", "y"]
    assert [columns[name]["logicalType"] for name in ("id", "t", "x", "group")] == [
        "string",
        "timestamp",
        "number",
        "string",
    ]
    assert [columns[name]["physicalType"] for name in ("x", "group")] == ["double", "string"]
    assert [name for name, c in columns.items() if c["required"]] == ["id", "t"]
    assert [name for name, c in columns.items() if c.get("primaryKey")] == ["id"]
    assert columns["group"]["classification"] == "personal"
    assert columns["z"]["quality"] == [
        {"metric": "nullValues", "unit": "percent", "mustBeLessOrEqualTo": 25, "severity": "error"}
    ]
    assert columns["group"]["quality"][0]["arguments"] == {"validValues": ["a", "b", "c"]}
    levels = {level["property"]: (level["value"], level["unit"]) for level in contract["slaProperties"]}
    assert levels == {"frequency": (1, "week"), "freshness": (1, "day"), "latency": (1, "day")}
    assert (contract["team"], contract["description"]["usage"]) == ({"name": "Risk team"}, "Calls")
    done = home("contract", "check", "toy", str(file))
    assert done.code == 0, done.out
    assert "no difference between" in done.out
    assert "[2024-01-08, 2024-01-15)" in done.out
    again = home("contract", "write", "toy", "--out", str(file))
    assert again.code == 2
    assert "exists; name another file, or overwrite it with --force" in again.err


def test_the_schema_of_the_standard_takes_it(home):
    model = pytest.importorskip("open_data_contract_standard.model")
    from jsonschema import Draft201909Validator

    schema = json.loads((resources.files("open_data_contract_standard") / "schema.json").read_text())
    text = home("contract", "write", "toy").out
    assert [e.message for e in Draft201909Validator(schema).iter_errors(yaml.safe_load(text))] == []
    assert model.OpenDataContractStandard.from_string(text).schema_[0].name == "toy"
    wrong = yaml.safe_load(text) | {"sla": []}
    assert list(Draft201909Validator(schema).iter_errors(wrong))


DIFFERENCES = {
    "a column that it lacks": (
        lambda c: c["schema"][0]["properties"].pop(2),
        "toy: the contract has no column x, which the config uses",
    ),
    "another type": (
        lambda c: c["schema"][0]["properties"][3].update(logicalType="string"),
        "toy.z: the config uses it as number, and the contract says string",
    ),
    "another key": (
        lambda c: c["schema"][0]["properties"][4].update(primaryKey=True, primaryKeyPosition=2),
        "toy: its primary key is id, group, and ingest.key is id",
    ),
    "a rule that nothing checks": (
        lambda c: c["schema"][0]["properties"][2].update(required=True),
        "toy.x: no expectation of the config checks its rule expect_column_values_to_not_be_null",
    ),
    "a column that the source lacks": (
        lambda c: c["schema"][0]["properties"].append({"name": "grup"}),
        "toy.grup: the source has no such column; did you mean group?",
    ),
    "rows that break a rule": (
        lambda c: c["schema"][0]["properties"][2].update(logicalTypeOptions={"maximum": 1}),
        "breaks expect_column_values_to_be_between(x, max_value=1) in",
    ),
    "rows that come later": (
        lambda c: c["slaProperties"][1].update(value=3),
        "rows may come 3 days late, and ingest.late_after is 1 day, so that a batch in time is announced as missing",
    ),
    "rows that come less often": (
        lambda c: c["slaProperties"][0].update(unit="month"),
        "rows come each 1 month, and ingest.period is week",
    ),
    "outcomes that come later": (
        lambda c: c["slaProperties"][2].update(value=36, unit="h"),
        "outcomes may be known 36 hours late, and ingest.label.known_after is 1 day; set it to 36 hours",
    ),
    "personal data": (
        lambda c: c["schema"][0]["properties"][2].update(classification="PII"),
        "toy.x: it is classified as PII, and serve.personal does not name it; add it there",
    ),
}


def test_all_differences_are_told_at_once_with_their_places_and_fixes(home, tmp_path):
    file = written(home, tmp_path)
    whole = file.read_text()
    for alone in ({"a column that it lacks"}, set(DIFFERENCES) - {"a column that it lacks"}):
        contract = yaml.safe_load(whole)
        for what in DIFFERENCES.keys() & alone:
            DIFFERENCES[what][0](contract)
        file.write_text(yaml.safe_dump(contract))
        done = home("contract", "check", "toy", str(file))
        assert done.code == 1
        assert [what for what in alone if DIFFERENCES[what][1] not in done.out] == []
    found = json.loads(home("contract", "check", "toy", str(file), "--json").out.splitlines()[-1])
    assert {f["of"] for f in found["findings"]} == {"config", "data"}
    assert home("contract", "check", "toy", str(tmp_path / "none.yaml")).code == 2


def test_a_contract_that_the_config_names_is_compared_by_check_and_by_validation(home, tmp_path):
    file, config = written(home, tmp_path), tmp_path / "configs" / "toy.yaml"
    config.write_text(config.read_text().replace("  period: week", "  period: week\n  contract: toy.odcs.yaml"))
    assert home("check", "toy").code == 0
    contract = yaml.safe_load(file.read_text())
    properties = contract["schema"][0]["properties"]
    properties[2]["logicalTypeOptions"] = {"maximum": 1}
    file.write_text(yaml.safe_dump(contract))
    assert home("check", "toy").code == 0, "the config agrees; only the rows do not"
    run = home("run", "toy", "--as-of", "2024-01-15", "--retrain", "never")
    assert run.code == 1
    assert "expect_column_values_to_be_between(x, max_value=1) fails for" in " ".join(run.out.split())
    wrong = {"type": "expect_column_values_to_be_betwen", "kwargs": {"column": "z"}}
    properties[3]["quality"] = [{"type": "custom", "engine": "great-expectations", "implementation": wrong}]
    file.write_text(yaml.safe_dump(contract))
    said = " ".join(home("check", "toy").out.split())
    assert "ingest.contract: toy.odcs.yaml: Great Expectations has no expect_column_values_to_be_betwen" in said
    properties[3] |= {"logicalType": "string", "quality": []}
    file.write_text(yaml.safe_dump(contract))
    done = home("check", "toy")
    assert done.code == 2
    assert "ingest.contract: toy.z: the config uses it as number, and the contract says string" in " ".join(
        done.out.split()
    )


def test_outcomes_of_a_second_source_are_a_table_of_their_own(trueup, tmp_path):
    loans.write(tmp_path, *loans.book(weeks=2))
    rows, outcomes = yaml.safe_load(trueup("contract", "write", "loans").out)["schema"]
    assert outcomes["name"] == "loans_labels"
    assert [c["name"] for c in outcomes["properties"]] == ["loan_id", "defaulted", "recorded_on"]
    assert not {"defaulted", "recorded_on"} & {c["name"] for c in rows["properties"]}
