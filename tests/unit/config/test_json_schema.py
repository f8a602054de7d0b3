"""The JSON schemas for editors agree with the reader of configs, as far as a schema can."""

import json
import re
from copy import deepcopy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from trueup.config import json_schema, yaml_text
from trueup.config.durations import parse_calendar, parse_duration
from trueup.config.environments import choose
from trueup.config.load import parse_model
from trueup.errors import ConfigError

ROOT = Path(__file__).parents[3]
TEMPLATES = ROOT / "trueup" / "project" / "templates"
CONFIGS = [*(ROOT / "configs").glob("*.yaml"), *TEMPLATES.glob("*/configs/*.yaml")]
ENVIRONMENTS = sorted(TEMPLATES.glob("base/environments/*.yaml"))
CONFIG = Draft202012Validator(json_schema.config_schema())
ENVIRONMENT = Draft202012Validator(json_schema.environment_schema())

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
  history: [{name: rate, by: [plan, [plan, city]], windows: [7 days]}]
train: {window: 3 months, half_life: 1 day 12 hours}
score: {sink: {kind: sql, url: "postgresql://db/x", table: scores}}
promote:
  gates: [{kind: paired}, {kind: "own_gates:Strict", limit: 3}]
  rollout: {}
serve: {}
replay: {policies: ["every 1 month, no gate", {kind: "own:Policy"}]}
"""


def messages(content, validator=CONFIG):
    return [f"{e.json_path}: {e.message}" for e in validator.iter_errors(content)]


@pytest.mark.parametrize("validator", [CONFIG, ENVIRONMENT], ids=["config", "environment"])
def test_the_schemas_are_schemas(validator):
    Draft202012Validator.check_schema(validator.schema)


def test_the_files_are_what_the_code_says():
    for name, text in json_schema.texts().items():
        for file in (ROOT / "configs" / ".schema" / name, ROOT / "docs" / name.replace(".json", ".schema.json")):
            assert file.read_text(encoding="utf-8") == text, "run `make docs`"


@pytest.mark.parametrize("file", CONFIGS, ids=lambda f: str(f.relative_to(ROOT)))
def test_every_config_fits_and_names_the_schema_in_its_first_line(file):
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == json_schema.CONFIG_LINE
    assert messages(yaml_text.read(text)) == []


@pytest.mark.parametrize("file", ENVIRONMENTS, ids=lambda f: f.stem)
def test_every_environment_fits_and_names_the_schema_in_its_first_line(file):
    text = file.read_text(encoding="utf-8")
    assert text.splitlines()[0] == json_schema.ENVIRONMENT_LINE
    assert messages(yaml_text.read(text), ENVIRONMENT) == []


def test_forms_that_the_reader_accepts_fit():
    assert messages(yaml_text.read(GOOD)) == []


def named(node, place=""):
    """Every key that the schema knows, with its place."""
    if isinstance(node, dict):
        for key, inner in node.get("properties", {}).items():
            yield f"{place}.{key}", inner
        for key, inner in node.items():
            yield from named(inner, f"{place}.{key}")
    elif isinstance(node, list):
        for number, inner in enumerate(node):
            yield from named(inner, f"{place}[{number}]")


def described(part):
    refers = "$ref" in part or any("$ref" in p or "oneOf" in p for p in part.get("anyOf", []))
    return bool(part.get("description")) or refers


@pytest.mark.parametrize("validator", [CONFIG, ENVIRONMENT], ids=["config", "environment"])
def test_every_key_has_a_description(validator):
    keys = {place: part for place, part in named(validator.schema) if "LabelConfig.oneOf" not in place}  # a rule
    assert len(keys) > 5
    assert [place for place, part in keys.items() if not described(part)] == []
    without = [name for name, part in validator.schema.get("$defs", {}).items() if not part.get("description")]
    assert without == []


WRONG = {
    "an unknown key": (("about",), ("abuot",), "x"),
    "an unknown key of a section": (("train",), ("train", "trails"), 3),
    "an unknown key of a source": (("ingest",), ("ingest", "source", "paht"), "x"),
    "an unknown kind": (("ingest",), ("ingest", "source", "kind"), "flies"),
    "no kind": (("ingest",), ("ingest", "source"), {"path": "x.csv"}),
    "a wrong type": (("train",), ("train", "trials"), "many"),
    "a list in place of a text": (("ingest",), ("ingest", "time"), ["day"]),
    "a number out of bounds": (("train",), ("train", "trials"), 0),
    "a value that is none of the allowed": (("ingest",), ("ingest", "period"), "year"),
    "a wrong task": (("task",), ("task",), "binari"),
    "a span without a unit": (("train",), ("train", "half_life"), "12"),
    "a span with an unknown unit": (("train",), ("train", "half_life"), "12 dys"),
    "a negative span": (("retrain",), ("retrain", "cooldown"), "-1 day"),
    "no label clock": (("ingest",), ("ingest", "label"), {"column": "left"}),
    "two label clocks": (("ingest",), ("ingest", "label", "known_at"), "left_at"),
    "a section that is missing": (("features",), ("features",), None),
    "an unknown key of a gate": (("promote",), ("promote", "gates"), [{"kind": "paired", "magin": 1}]),
    "a gate without a kind": (("promote",), ("promote", "gates"), [{"min_gain": 1}]),
    "a wrong name": (("model",), ("model",), "Churn Model"),
}


@pytest.mark.parametrize(("section", "path", "value"), WRONG.values(), ids=WRONG)
def test_what_the_reader_refuses_is_refused_in_the_same_section(section, path, value):
    content = deepcopy(yaml_text.read(GOOD))
    content["promote"]["gates"] = [{"kind": "paired"}]
    content["replay"] = {}
    parse_model(yaml_text.write(content))
    assert messages(content) == []
    inner = content
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    with pytest.raises(ConfigError):
        parse_model(yaml_text.write(content))
    found = list(CONFIG.iter_errors(content))
    assert found
    assert {tuple(e.absolute_path)[:1] for e in found} <= {section, ()}


UNITS = ["week", "weeks", "day", "Days", "hour", "HOURS", "minute", "min", "mins", "second", "seconds", "h", "d"]
PARTS = st.tuples(st.integers(1, 400), st.sampled_from(["", " ", "  "]), st.sampled_from([*UNITS, "dys", "x"]))
SPANS = st.lists(PARTS, max_size=3).map(lambda parts: " ".join(f"{n}{gap}{unit}" for n, gap, unit in parts))
CALENDAR = st.one_of(SPANS, st.sampled_from(["1 month", "2 Months", "1 year", "P3D", "PT12H", "month", "1.5 months"]))


def reads(parse, text):
    try:
        return parse(text) is not None
    except ValueError:
        return False


@pytest.mark.property
@given(SPANS)
def test_a_span_fits_as_it_is_read(text):
    pattern = CONFIG.schema["$defs"]["RetrainConfig"]["properties"]["cooldown"]["pattern"]
    assert (re.search(pattern, text) is not None) == reads(parse_duration, text)


@pytest.mark.property
@given(CALENDAR)
def test_a_span_of_months_fits_as_it_is_read(text):
    pattern = CONFIG.schema["$defs"]["TrainConfig"]["properties"]["window"]["anyOf"][0]["pattern"]
    assert (re.search(pattern, text) is not None) == reads(parse_calendar, text)


OVERRIDES = {
    "train.trials": (4, "four"),
    "promote.mode": ("approval", "maybe"),
    "promote.approval.four_eyes": (True, "both"),
    "promote.approval": ({"expires_after": "1 day"}, {"expires": "1 day"}),
}


@pytest.mark.parametrize(("key", "values"), OVERRIDES.items(), ids=OVERRIDES)
def test_an_environment_may_override_the_allowed_keys_only(tmp_path, key, values):
    good, bad = values
    assert messages({"overrides": {key: good}}, ENVIRONMENT) == []
    assert messages({"overrides": {key: bad}}, ENVIRONMENT)
    (tmp_path / "environments").mkdir()
    file = tmp_path / "environments" / "prod.yaml"
    file.write_text(json.dumps({"overrides": {key: good}}))
    assert choose(tmp_path, "prod").content.overrides == {key: good}
    for wrong in ({"overrides": {"features.numeric": ["x"]}}, {"variables": {"lower": "x"}}, {"abuot": "x"}):
        file.write_text(json.dumps(wrong))
        assert messages(wrong, ENVIRONMENT)
        with pytest.raises(ConfigError):
            choose(tmp_path, "prod")
