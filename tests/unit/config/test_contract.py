"""Rules of a data contract and expectations of a config are the same in both directions."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.contract.document import Column, Contract, Quality, Sla, Table, read_contract, table_of
from trueup.config.contract.rules import columns_of, expectations, is_checked, quality_of
from trueup.config.durations import Months
from trueup.config.load import load_model, parse_model, read
from trueup.config.sections.validation import ExpectationConfig
from trueup.domain.data.digest import config_text
from trueup.errors import ConfigError

SHARES = st.sampled_from([0.5, 0.9, 0.95, 0.999])
MOSTLY = st.one_of(st.just({}), SHARES.map(lambda share: {"mostly": share}))
VALUES = st.lists(st.one_of(st.integers(), st.text(max_size=5)), min_size=1, max_size=4, unique=True)
ABOUT = st.just({"column": "a"})


def kind(name, *arguments):
    merged = st.tuples(ABOUT, *arguments).map(lambda parts: {k: v for part in parts for k, v in part.items()})
    return merged.map(lambda kwargs: {"type": name, "kwargs": kwargs})


EXPECTATIONS = st.one_of(
    kind("expect_column_values_to_not_be_null", MOSTLY),
    kind("expect_column_values_to_be_unique"),
    kind("expect_column_values_to_be_in_set", VALUES.map(lambda v: {"value_set": v}), MOSTLY),
    kind("expect_column_values_to_match_regex", st.just({"regex": "^[a-z]+$"}), MOSTLY),
    kind("expect_column_values_to_be_between", st.just({"min_value": 0, "max_value": 9}), MOSTLY),
    kind("expect_column_mean_to_be_between", st.just({"min_value": 0})),
)
CONFIGURED = st.builds(
    lambda written, severity, level: ExpectationConfig(**written, severity=severity, level=level),
    EXPECTATIONS,
    st.sampled_from(["critical", "warning"]),
    st.sampled_from([None, "row", "batch"]),
)


def table(*quality, **column):
    return Table(name="t", properties=[Column(name="a", **column)], quality=list(quality))


@pytest.mark.property
@given(CONFIGURED)
def test_an_expectation_becomes_a_rule_and_that_the_same_expectation(expectation):
    column, rule = quality_of(expectation)
    assert column == "a"
    found, others = expectations(table(quality=[Quality.model_validate(rule)]), ["a"])
    assert (found, others) == ([expectation], [])
    assert is_checked(found[0], [expectation], {})


BOUNDS = st.tuples(st.integers(0, 9), st.integers(10, 99))


@pytest.mark.property
@given(BOUNDS, st.sampled_from([("min_value",), ("max_value",), ("min_value", "max_value")]))
def test_a_number_of_rows_becomes_a_rule_of_the_table(bounds, named):
    kwargs = {name: value for name, value in zip(("min_value", "max_value"), bounds, strict=True) if name in named}
    written = ExpectationConfig(type="expect_table_row_count_to_be_between", kwargs=kwargs)
    column, rule = quality_of(written)
    assert column is None
    assert expectations(table(Quality.model_validate(rule)), ["a"]) == ([written], [])


def test_what_the_columns_own_keys_promise_is_a_rule_too():
    options = {"minimum": 0, "exclusiveMaximum": 10}
    found, _ = expectations(
        table(logicalType="number", required=True, unique=True, logicalTypeOptions=options), ["a"], []
    )
    assert [(e.type, e.kwargs) for e in found] == [
        ("expect_column_values_to_not_be_null", {"column": "a"}),
        ("expect_column_values_to_be_unique", {"column": "a"}),
        (
            "expect_column_values_to_be_between",
            {"column": "a", "min_value": 0, "max_value": 10, "strict_max": True},
        ),
    ]
    text = table(logicalType="string", logicalTypeOptions={"pattern": "^x", "maxLength": 3}, enum=[{"value": "x"}])
    assert [e.type.split("_to_")[1] for e in expectations(text, ["a"])[0]] == [
        "be_in_set",
        "be_between",
        "match_regex",
    ]


def test_rules_of_other_programs_are_listed_and_those_of_other_columns_left_out():
    rules = [
        Quality(type="sql", name="by hand"),
        Quality(type="text", name="looks right"),
        Quality(type="custom", engine="soda", implementation="checks"),
        Quality(metric="nullValues", mustBeLessThan=10),  # a number of rows is no share
    ]
    found, others = expectations(table(quality=rules), ["a"])
    assert found == []
    assert others == ["t.a: by hand", "t.a: looks right", "t.a: custom", "t.a: nullValues"]
    compound = Quality(metric="duplicateValues", mustBe=0, arguments={"properties": ["a", "b"]})
    assert expectations(table(compound), ["a"]) == ([], [])
    both = Table(name="t", properties=[Column(name="a"), Column(name="b")], quality=[compound])
    (unique,) = expectations(both, ["a", "b"])[0]
    assert columns_of(unique) == ["a", "b"]


@pytest.mark.parametrize(
    ("missing", "mostly", "checked"), [(0.05, 0.9, True), (0.1, 0.9, True), (0.2, 0.9, False), (0.0, None, True)]
)
def test_a_share_of_missing_values_checks_a_rule_that_is_no_stricter(missing, mostly, checked):
    kwargs = {"column": "a"} | ({} if mostly is None else {"mostly": mostly})
    rule = ExpectationConfig(type="expect_column_values_to_not_be_null", kwargs=kwargs)
    assert is_checked(rule, [], {"a": missing}) is checked


def test_service_levels_are_spans_where_their_unit_is_known():
    spans = [
        Sla(property="latency", value=value, unit=unit).span for value, unit in ((4, "d"), (2, "Hours"), (1, "mo"))
    ]
    assert [str(s) for s in spans[:2]] == ["4 days, 0:00:00", "2:00:00"]
    assert isinstance(spans[2], Months)
    assert Sla(property="latency", value="4", unit="d").span is None
    assert Sla(property="latency", value=4, unit="fortnights").span is None


CONFIG = """
model: churn
task: binary
ingest:
  source: {kind: files, path: data/*.csv}
  time: day
  key: [customer]
  label: {column: left, known_after: 30 days}
  contract: churn.odcs.yaml
features:
  numeric: [age]
"""
CONTRACT = """
kind: DataContract
apiVersion: v3.1.0
id: churn
version: 1
schema:
  - name: people
    properties:
      - {name: customer, logicalType: string, required: true, primaryKey: true}
      - {name: day, logicalType: date, required: true}
      - {name: age, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 150}}
      - {name: left, logicalType: boolean, required: true}
      - {name: height, logicalType: number, required: true}
"""


@pytest.fixture
def configs(tmp_path):
    (tmp_path / "churn.yaml").write_text(CONFIG)
    (tmp_path / "churn.odcs.yaml").write_text(CONTRACT)
    return tmp_path


def test_the_rules_of_a_contract_are_expectations_of_the_config_that_names_it(configs):
    """Only those about columns that the model uses; key, time and label have values by the way rows are landed."""
    config = load_model(configs, "churn")
    (rule,) = config.validation.expectations
    assert (rule.type, rule.kwargs["column"], rule.kwargs["max_value"]) == (
        "expect_column_values_to_be_between",
        "age",
        150,
    )
    assert parse_model(CONFIG, root=configs) == config
    dumped = config.model_dump(mode="json", by_alias=True)
    assert parse_model(config_text(config).decode()).validation == config.validation
    (configs / "churn.yaml").write_text(json.dumps(dumped))
    assert load_model(configs, "churn") == config, "a recorded config reads the same again"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("kind: DataContract\n", ""), "churn.odcs.yaml: kind: is missing"),
        (("v3.1.0", "v2.2.2"), "apiVersion: string should match pattern"),
        (("logicalType: date", "logicalType: datum"), r"schema\[1\].properties\[2\].logicalType: input should be"),
        (("kind:", "kind: ["), "not YAML"),
    ],
)
def test_a_contract_with_mistakes_is_a_mistake_of_the_config(configs, change, said):
    file = configs / "churn.odcs.yaml"
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(ConfigError, match=f"line 9, ingest.contract: .*{said}"):
        load_model(configs, "churn")
    file.unlink()
    with pytest.raises(ConfigError, match=r"churn.odcs.yaml: cannot be read: No such file or directory"):
        load_model(configs, "churn")
    assert read(configs, "churn").name == "churn"


def test_of_several_tables_the_one_of_the_model_is_taken(tmp_path):
    def contract(*tables):
        return Contract(kind="DataContract", apiVersion="v3.0.2", id="x", version="1", schema=list(tables))

    named = Table(name="churn", properties=[Column(name="id")])
    other = Table(name="people", properties=[Column(name="id"), Column(name="day")])
    assert table_of(contract(other), tmp_path, "churn", ["nothing"]) is not None
    assert table_of(contract(other, named), tmp_path, "churn", ["id", "day"]).name == "churn"
    assert table_of(contract(other, Table(name="x")), tmp_path, "churn", ["id", "day"]).name == "people"
    with pytest.raises(
        ConfigError, match=r"no table with the columns id, day \(x, y\); name the table of the rows churn"
    ):
        table_of(contract(Table(name="x"), Table(name="y")), tmp_path, "churn", ["id", "day"])
    file = tmp_path / "empty.yaml"
    file.write_text("")
    with pytest.raises(ConfigError, match="the file: input should be"):
        read_contract(file)
