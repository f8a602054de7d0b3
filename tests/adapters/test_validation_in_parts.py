"""A batch that Great Expectations gets in parts is judged as it is judged whole."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.adapters.test_great_expectations import configured
from trueup.adapters import parquet
from trueup.adapters.great_expectations import engine
from trueup.adapters.great_expectations.tally import BY_ROW
from trueup.adapters.great_expectations.validation import check
from trueup.adapters.store import landed_rows
from trueup.adapters.store.landed_rows import LandedRows

AMOUNT, TOWN, SEEN = {"column": "distance"}, {"column": "carrier"}, {"column": "departs"}
PAIR = {"column_A": "distance", "column_B": "id"}
SEVERAL = {"column_list": ["distance", "id"]}
JSON_SCHEMA = {"json_schema": {"type": "integer"}}


def expectations():
    """Every expectation that is added up over parts, alone and with `mostly` or a condition, and others beside them."""
    own = {
        "expect_column_pair_values_a_to_be_greater_than_b": PAIR | {"or_equal": True},
        "expect_column_pair_values_to_be_equal": PAIR,
        "expect_column_pair_values_to_be_in_set": PAIR | {"value_pairs_set": [[1, 1], [2, 3]]},
        "expect_column_value_lengths_to_be_between": TOWN | {"min_value": 2, "max_value": 3},
        "expect_column_value_lengths_to_equal": TOWN | {"value": 2},
        "expect_column_values_to_be_between": AMOUNT | {"min_value": 1, "max_value": 6},
        "expect_column_values_to_be_dateutil_parseable": TOWN,
        "expect_column_values_to_be_in_set": TOWN | {"value_set": ["AA", "UA"]},
        "expect_column_values_to_be_json_parseable": TOWN,
        "expect_column_values_to_be_null": AMOUNT,
        "expect_column_values_to_match_json_schema": TOWN | JSON_SCHEMA,
        "expect_column_values_to_match_regex": TOWN | {"regex": "^[A-Z]+$"},
        "expect_column_values_to_match_regex_list": TOWN | {"regex_list": ["A", "2"]},
        "expect_column_values_to_match_strftime_format": TOWN | {"strftime_format": "%Y"},
        "expect_column_values_to_not_be_in_set": AMOUNT | {"value_set": [2, 3]},
        "expect_column_values_to_not_be_null": TOWN,
        "expect_column_values_to_not_match_regex": TOWN | {"regex": "^U"},
        "expect_column_values_to_not_match_regex_list": TOWN | {"regex_list": ["^U", "^2"]},
        "expect_multicolumn_sum_to_equal": SEVERAL | {"sum_total": 4},
        "expect_multicolumn_values_to_be_equal": SEVERAL,
        "expect_select_column_values_to_be_unique_within_record": SEVERAL,
    }
    assert own.keys() == BY_ROW
    for kind, kwargs in own.items():
        yield {"type": kind, "kwargs": kwargs}
        yield {"type": kind, "kwargs": kwargs | {"mostly": 0.6}}
    above = {"type": "comparison", "column": {"name": "id"}, "operator": ">", "parameter": 3}
    few = {"row_condition": above}
    yield {"type": "expect_column_values_to_be_between", "kwargs": AMOUNT | {"max_value": 2} | few}
    yield {"type": "expect_column_values_to_be_between", "kwargs": SEEN | {"max_value": "2013-01-01T06:00:00"}}
    yield {"type": "expect_column_values_to_be_in_set", "kwargs": TOWN | {"value_set": ["AA"]}, "level": "batch"}
    yield {"type": "expect_column_values_to_be_unique", "kwargs": AMOUNT}
    yield {"type": "expect_column_values_to_be_unique", "kwargs": TOWN}
    yield {"type": "expect_column_values_to_be_increasing", "kwargs": {"column": "id"}}
    yield {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["distance", "carrier"]}}
    yield {"type": "expect_column_mean_to_be_between", "kwargs": AMOUNT | {"max_value": 3}}
    yield {"type": "expect_column_median_to_be_between", "kwargs": AMOUNT | {"min_value": 2}}
    yield {"type": "expect_column_stdev_to_be_between", "kwargs": AMOUNT | {"max_value": 2}}
    yield {"type": "expect_column_distinct_values_to_be_in_set", "kwargs": TOWN | {"value_set": ["AA", "UA", "2"]}}
    yield {"type": "expect_column_proportion_of_unique_values_to_be_between", "kwargs": TOWN | {"max_value": 0.4}}
    yield {"type": "expect_column_values_to_be_of_type", "kwargs": AMOUNT | {"type_": "int64"}}
    yield {"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 9}}
    yield {"type": "expect_table_row_count_to_be_between", "kwargs": {"max_value": 3} | few}
    yield {
        "type": "expect_table_columns_to_match_set",
        "kwargs": {"column_set": ["id", "distance"], "exact_match": True},
    }


def landed(distance: list[float | None], carrier: list[str | None]) -> pd.DataFrame:
    n = len(distance)
    departs = pd.date_range("2013-01-01", periods=n, freq="h").astype("datetime64[us]")
    return pd.DataFrame(
        {
            "row_id": np.arange(n, dtype=np.int64) * 7 + 1,
            "event_time": departs,
            "id": np.arange(n),
            "departs": departs,
            "distance": pd.array(distance, dtype="Int64"),
            "carrier": np.array(carrier, dtype=object),
        }
    )


def judged(rows: Any, config: Any) -> dict[str, Any]:
    result = check(rows, config, {})
    kept = {f.name: getattr(result, f.name) for f in fields(result)}
    return kept | {"row_failures": [*kept["row_failures"].itertuples(index=False, name=None)]}


def require_the_same(distance: list[float | None], carrier: list[str | None], at_once: int) -> dict[str, Any]:
    config = configured(*expectations(), min_rows=5, max_quarantined=1.0)
    rows, cells = landed(distance, carrier), pytest.MonkeyPatch()
    with tempfile.TemporaryDirectory() as folder, cells.context() as patch:
        file = Path(folder, "rows.parquet")
        parquet.write(parquet.to_table(rows), file)
        whole = judged(parquet.to_pandas(parquet.read(file)), config)
        patch.setattr(landed_rows, "AT_ONCE", at_once)
        large = LandedRows(file, len(rows))
        assert [len(part) for part in large.parts(["id"])] == [
            min(at_once, len(rows) - start) for start in range(0, len(rows), at_once)
        ]
        assert judged(large, config) == whole
    return whole


def test_a_batch_in_parts_is_judged_as_a_whole_one():
    distance = [1, 2, None, None, 3, 3, 7, 9, 2, 2, None]
    carrier = ["AA", None, "UA", "2013", None, None, None, "2", "UA", "x", "AA"]
    whole = require_the_same(distance, carrier, 4)
    assert {c.success for c in whole["checks"] if c.ran} == {True, False}
    assert not [
        c.problem
        for c in whole["checks"]
        if c.problem
        and c.type not in {"expect_column_values_to_match_json_schema", "expect_column_values_to_be_json_parseable"}
    ]
    assert whole["quarantined"] > 5


@pytest.mark.thorough
@example([1, 2, None], [None, None, None], 1)
@given(
    st.lists(st.sampled_from([None, 1, 2, 3, 8, 2**60]), min_size=1, max_size=14),
    st.lists(st.sampled_from([None, "AA", "UA", "2", "2013", "x"]), min_size=14, max_size=14),
    st.integers(1, 7),
)
def test_any_batch_in_parts_is_judged_as_a_whole_one(distance, carrier, at_once):
    require_the_same(distance, carrier[: len(distance)], at_once)


def test_great_expectations_gets_no_frame_of_all_rows_and_columns(tmp_path, monkeypatch):
    rows = landed([1, 2, None, 4, 5, 6, 7, 8], ["AA", "UA"] * 4)
    parquet.write(parquet.to_table(rows), tmp_path / "rows.parquet")
    shown, plain = [], engine._batch
    monkeypatch.setattr(engine, "_batch", lambda frame: shown.append(frame.shape) or plain(frame))
    monkeypatch.setattr(landed_rows, "AT_ONCE", 3)
    check(LandedRows(tmp_path / "rows.parquet", 8), configured(*expectations()), {})
    assert {n for n, _ in shown} == {3, 2, 8}
    assert {columns for n, columns in shown if n == 8} == {1, 2, 4}  # 4: names only, without values
