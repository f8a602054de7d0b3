import html
import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.adapters.great_expectations import engine
from trueup.adapters.great_expectations.checks import always
from trueup.adapters.great_expectations.validation import check, problems
from trueup.config.schema import ModelConfig
from trueup.domain.records import to_plain
from trueup.domain.types import BatchRef, Status, Window
from trueup.errors import ConfigError
from trueup.reporting import data_docs

DISTANCE = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "min_value": 0}}
CARRIER = {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "carrier", "value_set": ["AA", "UA"]}}
MEAN = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "distance", "min_value": 10, "max_value": 500}}
BETWEEN = "expect_column_values_to_be_between(distance, min_value=0)"


def configured(*expectations, ingest=None, **limits):
    """A model with a numeric and a categorical feature, besides key and time."""
    return ModelConfig.model_validate(
        {
            "model": "flights",
            "task": "binary",
            "ingest": {
                "source": {"kind": "files", "path": "flights.csv"},
                "time": "departs",
                "key": ["id"],
                "label": {"column": "delay", "above": 15, "known_after": "1 day"},
                **(ingest or {}),
            },
            "validate": {"expectations": list(expectations) or [DISTANCE, CARRIER], **limits},
            "features": {"numeric": ["distance"], "categorical": ["carrier"]},
        }
    )


def landed(n=200, **columns):
    """Good rows, as landing gives them; `columns` replaces some."""
    departs = pd.date_range("2013-01-01", periods=n, freq="h").astype("datetime64[us]")
    good = {
        "row_id": np.arange(n, dtype=np.int64) * 7 + 1,
        "event_time": departs,
        "id": np.arange(n),
        "departs": departs,
        "distance": np.linspace(50, 400, n),
        "carrier": np.resize(np.array(["AA", "UA"], dtype=object), n),
    }
    return pd.DataFrame({**good, **columns})


def with_values(column, values):
    """Good rows, with some values of a column replaced: {position: value}."""
    rows = landed()
    changed = rows[column].copy()
    for position, value in values.items():
        changed[position] = value
    return rows.assign(**{column: changed})


def test_good_rows_pass_the_declared_and_the_constant_checks():
    result = check(landed(), configured(), {})
    assert result.verdict.status is Status.PASS
    assert result.verdict.figures == {"rows": 200, "quarantined": 0, "left_out": 0, "share": 0}
    assert result.row_failures.empty
    assert not result.batch_failures
    assert not result.warnings
    checked = {c.type for c in result.checks}
    assert {"expect_table_row_count_to_be_between", "expect_column_values_to_not_be_null", DISTANCE["type"]} <= checked
    assert all(c.success for c in result.checks)


def test_failing_rows_go_to_quarantine_with_the_names_of_what_they_failed():
    rows = with_values("distance", {3: -1.0, 8: -2.0}).assign(carrier=with_values("carrier", {8: "XX"})["carrier"])
    result = check(rows, configured(), {})
    assert result.verdict.ok
    assert result.quarantined == 2
    in_set = "expect_column_values_to_be_in_set(carrier, value_set=['AA', 'UA'])"
    found = set(result.row_failures.itertuples(index=False, name=None))
    assert found == {(22, BETWEEN), (57, BETWEEN), (57, in_set)}
    assert result.row_failures.dtypes.astype(str).to_dict() == {"row_id": "int64", "expectation": "object"}
    assert f"{BETWEEN} fails for 2 of 200 rows, such as -1.0, -2.0" in result.verdict.reasons


def test_failing_rows_are_named_whatever_the_index():
    rows = with_values("distance", {3: -1.0}).set_index(pd.Index(range(1000, 1200)))
    assert check(rows, configured(), {}).row_failures["row_id"].tolist() == [22]


def test_each_expectation_has_its_own_result():
    # Great Expectations hands its results back sorted by column.
    below = {"type": DISTANCE["type"], "kwargs": {"column": "distance", "max_value": 1000}}
    result = check(with_values("carrier", {3: "XX"}), configured(DISTANCE, CARRIER, below, MEAN), {})
    assert [c.type for c in result.checks if not c.success] == [CARRIER["type"]]
    assert result.row_failures["expectation"].str.startswith(CARRIER["type"]).all()


def test_distinct_values_that_are_not_in_a_set_are_counted_as_values():
    distinct = {
        "type": "expect_column_distinct_values_to_be_in_set",
        "kwargs": {"column": "carrier", "value_set": ["AA"]},
    }
    (failure,) = check(landed(), configured(distinct), {}).batch_failures
    assert failure.endswith("fails for 1 value, such as UA")


def test_whole_numbers_beyond_a_float_may_be_missing():
    rows = landed(40, distance=pd.array([-5, None, 2**60, *range(37)], dtype="Int64"))
    assert check(rows, configured(), {}).row_failures["row_id"].tolist() == [1]


def test_many_failing_rows_are_all_named():
    rows = landed(3000, distance=np.where(np.arange(3000) % 2, -1.0, 1.0))
    result = check(rows, configured(max_quarantined=0.6), {})
    assert result.row_failures["row_id"].tolist() == rows["row_id"][1::2].tolist()


def test_too_many_rows_in_quarantine_break_the_batch():
    rows = with_values("distance", dict.fromkeys(range(11), -1.0))
    assert check(rows, configured(max_quarantined=0.055), {}).verdict.ok
    result = check(rows, configured(max_quarantined=0.05), {})
    assert result.verdict.status is Status.FAIL
    assert result.batch_failures == ("5.50% of the rows cannot be used, more than 5.00% (validate.max_quarantined)",)
    assert result.quarantined == 11


def test_rows_left_out_at_landing_count_as_unusable():
    facts = {"null_keys": 10, "null_times": 5}
    result = check(landed(), configured(), facts)
    assert result.verdict.status is Status.FAIL
    assert result.share == 15 / 215
    assert "10 rows without a key were left out" in result.warnings


def test_a_few_rows_without_a_time_are_named_and_do_not_count():
    few = check(landed().head(40), configured(), {"null_times": 3})
    assert few.verdict.ok
    assert few.warnings == ("3 rows without a time were left out",)
    assert check(landed().head(40), configured(), {"null_times": 4}).verdict.status is Status.FAIL


def test_an_expectation_about_the_batch_breaks_it():
    result = check(landed(distance=np.full(200, 900.0) + np.arange(200)), configured(MEAN), {})
    assert result.verdict.status is Status.FAIL
    assert result.batch_failures[0].endswith("fails: observed 999.5")
    assert result.row_failures.empty


def test_mostly_and_level_make_an_expectation_about_values_judge_the_batch():
    rows = with_values("distance", dict.fromkeys(range(5), -1.0))
    mostly = {**DISTANCE, "kwargs": {**DISTANCE["kwargs"], "mostly": 0.9}}
    assert check(rows, configured(mostly), {}).quarantined == 0
    strict = check(rows, configured({**DISTANCE, "level": "batch"}), {})
    assert strict.verdict.status is Status.FAIL
    assert strict.quarantined == 0


def test_mostly_at_row_level_sets_rows_aside_once_it_fails():
    by_row = {**DISTANCE, "level": "row", "kwargs": {**DISTANCE["kwargs"], "mostly": 0.99}}
    assert check(with_values("distance", {0: -1.0}), configured(by_row), {}).quarantined == 0
    assert check(with_values("distance", dict.fromkeys(range(5), -1.0)), configured(by_row), {}).quarantined == 5


def test_a_warning_is_reported_and_changes_nothing():
    rows = with_values("distance", dict.fromkeys(range(50), -1.0))
    result = check(rows, configured({**DISTANCE, "severity": "warning"}, {**MEAN, "severity": "warning"}), {})
    assert result.verdict.ok
    assert result.quarantined == 0
    assert any(w.startswith(f"{BETWEEN} fails for 50 of 200 rows") for w in result.warnings)


def test_an_empty_batch_is_no_data():
    result = check(landed(0), configured(), {"missing": ["carrier"]})
    assert result.verdict.status is Status.INCONCLUSIVE
    assert result.verdict.reasons == ("no data",)
    assert result.rows == 0


@pytest.mark.parametrize(("column", "empty"), [("distance", np.nan), ("carrier", None)])
def test_a_feature_without_values_is_named_and_fails_only_where_a_limit_is_declared(column, empty):
    rows = landed(**{column: np.full(200, empty)})
    result = check(rows, configured(), {})
    assert result.verdict.ok
    assert f"{column} has no values at all" in result.warnings
    result = check(rows, configured(max_missing={column: 0.99}), {})
    assert result.verdict.status is Status.FAIL
    assert f"{column} has no values at all" in result.batch_failures


def test_missing_values_are_limited_by_the_config():
    rows = with_values("distance", dict.fromkeys(range(60), np.nan))
    assert check(rows, configured(), {}).verdict.ok
    assert check(rows, configured(max_missing={"distance": 0.3}), {}).verdict.ok
    result = check(rows, configured(max_missing={"distance": 0.29}), {})
    assert result.verdict.status is Status.FAIL
    assert result.batch_failures[0].startswith("distance: 30.0% of the values are missing, and 29.0%")


def test_a_missing_column_fails_once_and_nothing_is_asked_of_it():
    rows = landed().drop(columns="carrier")
    result = check(rows, configured(), {"missing": ["carrier"]})
    assert result.verdict.status is Status.FAIL
    assert len(result.batch_failures) == 1
    assert result.batch_failures[0].startswith("columns missing from the source: carrier")
    left = [c for c in result.checks if not c.ran]
    assert [(c.type, c.success, c.problem) for c in left] == [(CARRIER["type"], False, "carrier is missing")]


def test_extra_columns_are_said_aloud_or_fail():
    result = check(landed(), configured(), {"extra": ["tailnum"]})
    assert result.verdict.ok
    assert "columns that the config does not name were left out: tailnum" in result.warnings
    result = check(landed(), configured(ingest={"extra_columns": "fail"}), {"extra_failed": ["tailnum"]})
    assert result.verdict.status is Status.FAIL
    assert "tailnum" in result.batch_failures[0]


def test_text_where_numbers_belong_fails_unless_it_was_coerced():
    rows = landed(distance=np.resize(np.array(["12", "unknown"], dtype=object), 200))
    result = check(rows, configured(), {"mistyped": {"distance": {"kind": "number", "examples": ["much"]}}})
    assert result.verdict.status is Status.FAIL
    assert result.batch_failures[0].startswith("distance must hold numbers and holds text")
    assert len(result.batch_failures) == 1
    facts = {"coerced": {"distance": {"parsed": 1200, "failed": 3}}}
    result = check(landed(), configured(ingest={"coerce": ["distance"]}), facts)
    assert result.verdict.ok
    assert "distance: 1,200 texts read as numbers, 3 values were none" in result.warnings


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_infinite_values_are_counted_and_set_aside(dtype):
    rows = with_values("distance", {1: np.inf, 2: -np.inf}).astype({"distance": dtype})
    result = check(rows, configured(CARRIER), {})
    assert result.verdict.ok
    assert result.row_failures["row_id"].tolist() == [8, 15]
    assert result.row_failures["expectation"].unique().tolist() == [
        "expect_column_values_to_not_be_in_set(distance, value_set=[inf, -inf])"
    ]
    json.dumps(to_plain(result.checks), allow_nan=False)
    result = check(rows.assign(distance=np.inf), configured(CARRIER), {})
    assert result.verdict.status is Status.FAIL


@pytest.mark.parametrize("column", [{"distance": 7.0}, {"carrier": "AA"}])
def test_a_constant_column_is_reported(column):
    result = check(landed().assign(**column), configured(), {})
    assert result.verdict.ok
    assert result.warnings == (f"{next(iter(column))} has the same value in all rows",)


@pytest.mark.parametrize("n", [1, 2, 29])
def test_few_rows_are_inconclusive_whatever_they_hold(n):
    for rows in (landed(n), landed(n, distance=np.full(n, -1.0)), landed(n, carrier=np.full(n, None))):
        result = check(rows, configured(DISTANCE, MEAN), {})
        assert result.verdict.status is Status.INCONCLUSIVE
        assert result.verdict.reasons[0].startswith(f"only {n} rows")
    assert check(landed(30), configured(), {}).verdict.ok


def test_few_rows_without_a_column_fail_all_the_same():
    assert check(landed(5).drop(columns="carrier"), configured(), {}).verdict.status is Status.FAIL


def test_an_expectation_that_cannot_be_checked_never_passes():
    rows = landed(carrier=np.resize(np.array(["AA", "UA"], dtype=object), 200))
    nonsense = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "carrier", "min_value": 3}}
    result = check(rows, configured(nonsense), {})
    assert result.verdict.status is Status.FAIL
    assert "could not be checked" in result.batch_failures[0]
    assert check(rows, configured({**nonsense, "severity": "warning"}), {}).verdict.ok


@pytest.mark.parametrize("bound", ["2013-01-02", "2013-01-02T00:00:00"])
def test_times_are_compared_with_dates_from_the_yaml(bound):
    declared = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "departs", "min_value": bound}}
    result = check(landed(), configured(declared, max_quarantined=0.5), {})
    assert result.quarantined == 24


def test_categories_are_judged_like_their_values():
    expectations = [
        CARRIER,
        {"type": "expect_column_values_to_match_regex", "kwargs": {"column": "carrier", "regex": "^A"}},
        {"type": "expect_column_values_to_be_in_type_list", "kwargs": {"column": "carrier", "type_list": ["str"]}},
        {"type": "expect_column_value_lengths_to_equal", "kwargs": {"column": "carrier", "value": 2}},
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["carrier", "id"]}},
    ]
    rows = with_values("carrier", {3: "XX", 4: None, 6: "LONG"})
    config = configured(*expectations, max_quarantined=1)
    as_text, as_category = (check(r, config, {}) for r in (rows, rows.astype({"carrier": "category"})))
    pd.testing.assert_frame_equal(as_text.row_failures, as_category.row_failures)
    assert [c.success for c in as_text.checks] == [c.success for c in as_category.checks]
    assert not any(c.problem for c in as_category.checks)


def test_a_condition_may_name_a_column_that_no_expectation_names():
    condition = {"type": "comparison", "column": {"name": "carrier"}, "operator": "==", "parameter": "AA"}
    declared = {**DISTANCE, "kwargs": {**DISTANCE["kwargs"], "row_condition": condition}}
    result = check(with_values("distance", {2: -1.0, 3: -1.0}), configured(declared), {})
    assert result.row_failures["row_id"].tolist() == [15]


def test_checking_leaves_the_rows_as_they_were():
    rows = with_values("distance", {1: np.inf, 2: np.nan}).astype({"carrier": "category"})
    before = rows.copy()
    check(rows, configured(DISTANCE, CARRIER, MEAN), {})
    pd.testing.assert_frame_equal(rows, before)


@example(distance=[np.nan] * 7 + [1.0, 2.0, 3.0], carrier="AA", limit=0.7)  # 1 - 0.7 is not 0.3
@given(
    distance=st.lists(st.sampled_from([np.nan, np.inf, 1.0, 2.0]), min_size=1, max_size=12),
    carrier=st.sampled_from([None, "AA", "UA"]),
    limit=st.sampled_from([None, 0.0, 0.3, 0.5, 0.7, 1.0]),
)
def test_what_counting_settles_great_expectations_would_say_too(distance, carrier, limit):
    n = len(distance)
    rows = landed(n, distance=np.array(distance), carrier=np.array([carrier, *["AA"] * (n - 1)], dtype=object))
    config = configured(min_rows=5, max_missing={} if limit is None else {"distance": limit})
    checks = list(enumerate(always(rows, config, {}, [], [])))
    asked = engine.ask(lambda: [rows], config.input_columns, {i: replace(c, result=None) for i, c in checks})
    assert [c.result is not None for _, c in checks] == [asked[i].success for i, _ in checks]


def test_threads_side_by_side_get_their_own_verdicts():
    config = configured(DISTANCE, CARRIER, MEAN)
    batches = {
        True: landed(),
        False: landed(distance=np.full(200, 1000.0) + np.arange(200)),
    }

    def validate(worker):
        good = [bool((worker + i) % 2) for i in range(10)]
        return [(expected, check(batches[expected], config, {}).verdict.ok) for expected in good]

    with ThreadPoolExecutor(8) as pool:
        verdicts = [pair for done in pool.map(validate, range(8)) for pair in done]
    assert len(verdicts) == 80
    assert all(expected is found for expected, found in verdicts)


def test_an_empty_suite_is_refused():
    with pytest.raises(ValidationError, match="at least 1 item"):
        configured().validation.model_validate({"expectations": []})
    config = configured()
    emptied = config.model_copy(update={"validation": config.validation.model_copy(update={"expectations": []})})
    with pytest.raises(ConfigError, match="an empty suite would pass anything"):
        check(landed(), emptied, {})


def test_mistakes_are_all_found_without_data():
    config = configured(
        {"type": "expect_column_values_to_be_betwen", "kwargs": {"column": "distance", "min_value": 0}},
        {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "carrier", "valueset": ["AA"]}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "distance", "min_value": "low"}},
        {**MEAN, "level": "row"},
        {"type": "unexpected_rows_expectation", "kwargs": {"unexpected_rows_query": "select 1"}},
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id", "severity": "warning"}},
        {"type": "no_such_thing_at_all", "kwargs": {}},
        DISTANCE,
    )
    found = [str(mistake) for mistake in problems(dict(enumerate(config.validation.expectations)))]
    places = [p.split(": ")[0].removeprefix("validate.expectations") for p in found]
    assert places == [
        "[1].type",
        "[2].kwargs.value_set",
        "[2].kwargs.valueset",
        "[3].kwargs.min_value",
        "[4].level",
        "[5].type",
        "[6].kwargs.severity",
        "[7].type",
    ]
    assert found[0].endswith("did you mean expect_column_values_to_be_between?")
    assert found[2].endswith("there is no such argument; did you mean value_set?")
    with pytest.raises(ConfigError, match="8 mistakes"):
        check(landed(), config, {})
    sound = configured(DISTANCE, CARRIER, MEAN).validation.expectations
    assert problems(dict(enumerate(sound))) == []


def test_great_expectations_is_imported_only_where_it_is_used():
    code = (
        "import sys, trueup.adapters.great_expectations.validation, trueup.reporting.data_docs\n"
        "sys.exit('great_expectations' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_great_expectations_is_imported_without_what_it_does_not_need():
    """In a process of its own. What was left out is there for others afterwards."""
    code = """
import sys
from trueup.adapters.great_expectations import engine
kind = engine.implementations()["expect_column_kl_divergence_to_be_less_than"]
assert not {"boto3", "altair"} & set(sys.modules)
import boto3
assert sys.modules[kind.__module__].alt.Chart.__module__.startswith("altair")
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


def saved(folder, start, result, revision=1):
    window = Window(datetime(2013, start, 1), datetime(2013, start + 1, 1))
    batch = BatchRef("flights.rows", window, revision, 1, "rows.parquet", "0" * 64, result.rows)
    return data_docs.save(folder, "flights", batch, datetime(2013, start + 1, 1), result)


def test_data_docs_have_a_page_a_batch_and_an_index(tmp_path):
    saved(tmp_path, 1, check(landed(), configured(), {"extra": ["tailnum"]}))
    saved(tmp_path, 2, check(with_values("distance", dict.fromkeys(range(50), -1.0)), configured(), {}))
    saved(tmp_path, 3, check(landed(0), configured(), {}))
    index = data_docs.render(tmp_path)
    assert index == tmp_path / "index.html"
    listed = re.findall(r'<a href="(.*?)">(.*?)</a>', index.read_text())
    assert listed == [
        ("flights/2013-03-01_r1.html", "[2013-03-01, 2013-04-01) r1"),
        ("flights/2013-02-01_r1.html", "[2013-02-01, 2013-03-01) r1"),
        ("flights/2013-01-01_r1.html", "[2013-01-01, 2013-02-01) r1"),
    ]
    page = (tmp_path / listed[1][0]).read_text()
    assert '<span class="status fail">fail</span>' in page
    assert "50 unexpected values found" in page
    assert "left out: tailnum" in (tmp_path / listed[2][0]).read_text()


def test_data_docs_are_made_of_what_is_new_only(tmp_path):
    result = check(landed(), configured(), {})
    saved(tmp_path, 1, result)
    data_docs.render(tmp_path)
    first = tmp_path / "flights" / "2013-01-01_r1.html"
    made = first.stat().st_mtime_ns
    saved(tmp_path, 1, result, revision=2)
    index = data_docs.render(tmp_path).read_text()
    assert first.stat().st_mtime_ns == made
    assert index.count("<a href=") == 2


def test_the_index_needs_no_great_expectations_once_the_pages_are_drawn(tmp_path, monkeypatch):
    path = saved(tmp_path, 1, check(landed(), configured(), {}))
    data_docs.draw(tmp_path, path)
    monkeypatch.setattr(data_docs, "draw", lambda *_: pytest.fail("the page is there"))
    assert "flights/2013-01-01_r1.html" in data_docs.render(tmp_path).read_text()
    assert "success" in data_docs.page_of(tmp_path, path).read_text()


def test_old_data_docs_are_removed_with_their_pages_and_left_out_of_the_index(tmp_path):
    result = check(landed(), configured(), {})
    for month in (1, 2, 3):
        saved(tmp_path, month, result)
    data_docs.render(tmp_path)
    index, results = tmp_path / "index.html", tmp_path / "results" / "flights"
    whole = index.read_text()
    now = datetime.now().astimezone()
    assert data_docs.remove(tmp_path, "flights", now - timedelta(days=1)) == (0, 0)
    assert data_docs.remove(tmp_path / "nowhere", "flights", now) == (0, 0)
    assert index.read_text() == whole
    old = results / "2013-02-01_r1.json"
    os.utime(old, (0, 0))
    promised = data_docs.remove(tmp_path, "flights", now - timedelta(days=1), dry_run=True)
    assert promised[0] == 2
    assert index.read_text() == whole
    weight = old.stat().st_size
    old.unlink()  # and the process that began to remove died
    assert data_docs.remove(tmp_path, "flights", now - timedelta(days=1)) == (1, promised[1] - weight)
    assert re.findall(r'href="flights/(.*?)"', index.read_text()) == ["2013-03-01_r1.html", "2013-01-01_r1.html"]
    assert sorted(p.name for p in (tmp_path / "flights").iterdir()) == ["2013-01-01_r1.html", "2013-03-01_r1.html"]
    saved(tmp_path, 2, result)
    data_docs.render(tmp_path)
    assert index.read_text() == whole


def test_data_docs_draw_what_could_not_be_run(tmp_path):
    nonsense = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "carrier", "min_value": 3}}
    order = {"type": "expect_table_columns_to_match_ordered_list", "kwargs": {"column_list": ["id", "carrier"]}}
    saved(tmp_path, 1, check(landed(), configured(nonsense, order), {}))
    saved(tmp_path, 2, check(landed().drop(columns="distance"), configured(DISTANCE, order), {}))
    data_docs.render(tmp_path)
    assert "raised an exception" in (tmp_path / "flights" / "2013-01-01_r1.html").read_text()
    assert "distance is missing" in (tmp_path / "flights" / "2013-02-01_r1.html").read_text()


def test_data_docs_load_nothing_and_run_nothing(tmp_path):
    evil = "<script src='http://example.org/x.js'></script>"
    result = check(with_values("carrier", {0: evil}), configured(), {"extra": [evil]})
    saved(tmp_path, 1, result)
    index = data_docs.render(tmp_path)
    for page in (index, tmp_path / "flights" / "2013-01-01_r1.html"):
        text = page.read_text()
        assert "<script" not in text
        assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)
        assert "default-src 'none'" in text
        assert evil in html.unescape(text)
