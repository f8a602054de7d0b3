"""What landing makes of a source's rows: identity, times, labels, and everything odd counted."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.ingest import IngestConfig
from trueup.config.tasks import Task
from trueup.domain.data.landing import Landing, split
from trueup.domain.data.moments import parse_times
from trueup.domain.data.values import as_numbers, as_text, key_hash
from trueup.errors import SourceError

COLUMNS = ["id", "at", "size", "colour"]


def ingest(label: dict[str, Any] | None = None, **changes: Any) -> IngestConfig:
    given = {
        "source": {"kind": "files", "path": "orders.csv"},
        "time": "at",
        "key": ["id"],
        "label": {"column": "late", "known_after": "1 day", **(label or {})},
    }
    return IngestConfig.model_validate(given | changes)


def known_by_column(**label: Any) -> IngestConfig:
    return ingest(label | {"known_after": None, "known_at": "told"})


def orders(**changes: Any) -> pd.DataFrame:
    """Four orders, out of order in time, the third without an outcome."""
    table = {
        "id": [3, 1, 2, 4],
        "at": pd.to_datetime(["2013-01-03", "2013-01-01", "2013-01-02", "2013-01-04"]),
        "size": [3.5, 1.5, np.nan, 4.5],
        "colour": ["red", "blue", None, "red"],
        "late": [1.0, 0.0, np.nan, 1.0],
    }
    return pd.DataFrame(table | changes)


def land(raw: pd.DataFrame, config: IngestConfig | None = None, task: Task = Task.BINARY) -> Landing:
    return split(raw, config or ingest(), task, COLUMNS, ["size"])


def ids(*values: Any) -> list[int]:
    return key_hash(pd.DataFrame({"id": list(values)})).tolist()


def test_rows_and_labels_are_landed_apart_and_in_order():
    landed = land(orders())
    assert landed.rows.columns.tolist() == ["row_id", "event_time", *COLUMNS]
    assert landed.rows["id"].tolist() == ["1", "2", "3", "4"]
    assert landed.rows.dtypes[["row_id", "event_time"]].astype(str).tolist() == ["int64", "datetime64[us]"]
    assert landed.labels.columns.tolist() == ["row_id", "event_time", "label", "known_at"]
    assert landed.labels["row_id"].tolist() == ids(1, 3, 4)
    assert landed.labels["label"].tolist() == [0.0, 1.0, 1.0]
    assert (landed.labels["known_at"] - landed.labels["event_time"]).unique().tolist() == [timedelta(days=1)]
    assert landed.labels["known_at"].dtype == "datetime64[us]"


def test_facts_are_plain_and_always_complete():
    facts = land(orders()).facts
    assert json.loads(json.dumps(facts)) == {
        "rows_read": 4,
        "rows": 4,
        "labels": 3,
        "missing": [],
        "extra": [],
        "extra_failed": [],
        "null_keys": 0,
        "null_times": 0,
        "duplicates": 0,
        "sentinels": {},
        "coerced": {},
        "mixed": [],
        "mistyped": {},
        "respelled": {},
        "rounded": {},
        "rewritten": {},
        "kinds": {"id": "digits", "at": "time", "size": "number", "colour": "text"},
        "unknown_outcomes": {},
        "outcomes": None,
        "infinite_outcomes": 0,
        "no_outcome": 1,
        "known_at_clipped": 0,
        "known_at_missing": 0,
    }
    assert land(orders().head(0)).facts.keys() == facts.keys()


def test_the_argument_is_not_changed():
    raw = orders(size=["1", "x", 2, None])
    before = raw.copy()
    landed = land(raw, ingest(coerce=["size"]))
    landed.rows.loc[:, "id"] = 0
    pd.testing.assert_frame_equal(raw, before)


def test_an_empty_source_lands_as_empty_frames_with_types():
    landed = land(orders().head(0).astype(object))
    assert landed.rows.empty
    assert landed.labels.empty
    assert landed.rows.dtypes[["row_id", "event_time", "size"]].astype(str).tolist() == [
        "int64",
        "datetime64[us]",
        "float64",
    ]
    assert landed.labels["known_at"].dtype == "datetime64[us]"


# Columns


def test_all_missing_required_columns_are_named_at_once():
    with pytest.raises(SourceError) as caught:
        land(orders().drop(columns=["at", "late"]).rename(columns={"id": "order"}), known_by_column())
    message = str(caught.value)
    for part in ("at (ingest.time)", "id (ingest.key)", "late (ingest.label.column)", "told (ingest.label.known_at)"):
        assert part in message
    assert "it has order, size, colour" in message


def test_a_missing_wanted_column_is_left_for_validation():
    landed = land(orders().drop(columns="colour"))
    assert landed.facts["missing"] == ["colour"]
    assert "colour" not in landed.rows


def test_a_column_twice_is_refused():
    raw = pd.concat([orders(), orders()[["size"]]], axis=1)
    with pytest.raises(SourceError, match="size more than once"):
        land(raw)


@pytest.mark.parametrize(("policy", "fact"), [("ignore", "extra"), ("fail", "extra_failed")])
def test_extra_columns_are_named_by_policy_and_never_landed(policy, fact):
    landed = land(orders(secret=1), ingest(extra_columns=policy))
    assert landed.facts[fact] == ["secret"]
    assert sorted(landed.facts["extra"] + landed.facts["extra_failed"]) == ["secret"]
    assert "secret" not in landed.rows


def test_outcome_and_its_time_never_stay_in_the_rows():
    landed = land(orders(told=pd.Timestamp("2013-02-01")), known_by_column())
    assert set(landed.rows.columns) & {"late", "told", "label", "known_at"} == set()


def test_names_that_trueup_adds_are_refused_except_where_they_mean_the_same():
    with pytest.raises(SourceError, match="row_id: names that Trueup adds"):
        split(orders(row_id=1), ingest(key=["row_id"]), Task.BINARY, ["row_id", "at"], [])
    raw = orders().rename(columns={"at": "event_time", "late": "label"})
    landed = split(raw, ingest({"column": "label"}, time="event_time"), Task.BINARY, ["id", "event_time"], [])
    assert landed.rows.columns.tolist() == ["row_id", "event_time", "id"]
    assert landed.labels["label"].tolist() == [0.0, 1.0, 1.0]


# Keys


def test_the_last_of_several_rows_of_a_key_counts():
    raw = orders(id=[1, 2, 1, 2], size=[1.0, 2.0, 3.0, 4.0])
    landed = land(raw)
    assert landed.facts["duplicates"] == 2
    assert landed.rows["size"].tolist() == [3.0, 4.0]
    assert landed.labels["label"].tolist() == [1.0], "the outcome is that of the last row too: the first 1 was replaced"


def test_a_line_of_totals_has_no_time_whatever_the_key_is():
    times = pd.to_datetime(["2013-01-01", "2013-01-02", "2013-01-03", None])
    for key in (["at"], ["id"], ["id", "at"]):
        facts = land(orders(id=[1, 2, 3, None], at=times), ingest(key=key)).facts
        assert (facts["null_keys"], facts["null_times"], facts["rows"]) == (0, 1, 3)


def test_rows_without_key_or_time_are_left_out_and_counted():
    times = pd.to_datetime(["2013-01-03", None, "2013-01-02", "2013-01-04"])
    landed = land(orders(id=[1, 2, None, 4], at=times))
    assert (landed.facts["null_keys"], landed.facts["null_times"], landed.facts["rows"]) == (1, 1, 2)
    assert landed.rows["row_id"].tolist() == ids(1, 4)


@pytest.mark.parametrize(
    "same",
    [
        [1, 2],
        [1.0, 2.0],
        ["1", "2"],
        np.array([1, 2], dtype=np.int8),
        np.array([1, 2], dtype=np.float32),
        pd.array([1, 2], dtype="Int64"),
        pd.array(["1", "2"], dtype="string"),
        pd.Categorical(["1", "2"]),
        [Decimal(1), Decimal("2.0")],
        [1, "2"],
    ],
    ids=str,
)
def test_a_key_is_the_same_in_whatever_type_it_arrives(same):
    assert key_hash(pd.DataFrame({"id": same})).tolist() == ids(1, 2)


def test_different_texts_are_different_keys():
    texts = ["1", "01", "1.0", "+1", " 1", "1.10", "1.1", "-0", "0", "", "True", "9" * 30, "9" * 31]
    assert len(set(ids(*texts))) == len(texts)


def test_large_numbers_keep_apart_and_are_the_same_as_text():
    large = [10**17, 10**18, 1_839_201_938_475_610_112, 2**63 - 1024, -(2**63) + 1024]
    assert ids(*large) == ids(*map(str, large))
    assert len(set(ids(*large, 2**63, 2**63 - 1, 2**63 - 2, -(2**63)))) == 9
    assert key_hash(pd.DataFrame({"id": np.array([2**63, 5], dtype=np.uint64)})).tolist() == ids(str(2**63), "5")


def test_text_with_a_nul_is_no_whole_number_although_c_would_cut_it_there():
    raw = orders(size=["1", "1\0", "2", None]).astype({"size": object})
    landing = land(raw, ingest(types={"size": "integer"}))
    assert landing.facts["mistyped"]["size"]["kind"] == "integer"
    assert "1\0" in landing.rows["size"].tolist()
    digits = land(orders(id=["1.0", "2", "1\0", "3"]))
    assert digits.rows["id"].tolist() == ["2", "1\u2400", "1.0", "3"]


def test_fractions_keep_apart():
    assert len(set(ids(1.0, 1.5, 1.25, -1.0, 1e300, 2e300))) == 6
    assert ids(1.5, 2.0) == ids("1.5", "2")


def test_the_id_does_not_change_between_releases():
    """Stored predictions are joined by it: a change here orphans them."""
    keys = pd.DataFrame({"a": [1, 2], "b": ["x", "y"], "c": pd.to_datetime(["2013-01-01", "2013-01-02"])})
    assert key_hash(keys).tolist() == [-216805047867776127, -4268529748615705087]


def test_columns_of_a_key_do_not_commute():
    one, other = pd.DataFrame({"a": ["x"], "b": ["y"]}), pd.DataFrame({"a": ["y"], "b": ["x"]})
    assert key_hash(one) != key_hash(other)


def test_a_time_in_the_key_is_the_same_key_however_it_is_written():
    texts = orders(at=["2013-01-03T00:00:00Z", "2013-01-01", "2013-01-02 00:00:00", "2013-01-04"])
    config = ingest(key=["id", "at"])
    assert land(texts, config).rows["row_id"].tolist() == land(orders(), config).rows["row_id"].tolist()


def test_ids_do_not_depend_on_the_other_rows_of_the_batch():
    whole = land(orders()).rows["row_id"].tolist()
    assert [land(orders()[orders()["id"] == i]).rows["row_id"].item() for i in (1, 2, 3, 4)] == whole


@pytest.mark.slow
@given(
    st.lists(
        st.integers(-(2**53), 2**53)
        | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)
        | st.floats(allow_nan=False, allow_infinity=False),
        min_size=1,
        max_size=30,
    )
)
def test_keys_are_equal_exactly_when_their_texts_are(values):
    texts = as_text(pd.Series(values, dtype=object)).tolist()
    hashes = key_hash(pd.DataFrame({"id": pd.Series(values, dtype=object)})).tolist()
    assert len(set(zip(texts, hashes, strict=True))) == len(set(texts)) == len(set(hashes))


# Times


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["2013-07-01 05:00", "2013-07-01T06:00:00"], [5, 6]),
        (["2013-07-01T05:00:00Z", "2013-07-01 05:00:00.5+02:00", "2013-07-01 05:00-0400"], [1, 23, 5]),
        (["2013-07-01", "20130701"], [0, 0]),
        ([datetime(2013, 7, 1, 5), datetime(2013, 7, 1, 5, tzinfo=UTC)], [5, 1]),
        ([date(2013, 7, 1)], [0]),
        (pd.to_datetime(["2013-07-01 05:00"]).as_unit("s"), [5]),
        (pd.to_datetime(["2013-07-01 05:00"], utc=True), [1]),
    ],
    ids=str,
)
def test_times_are_brought_to_the_zone(written, read):
    times = parse_times(pd.Series(written), "America/New_York", "ingest.time")
    assert times.dtype == "datetime64[us]"
    assert times.dt.hour.tolist() == read


@given(st.permutations(["2024-11-05T01:30:00-05:00", "2024-11-05 05:00", "2024-11-05T02:30:00Z", "2024-11-05"]))
def test_how_a_time_reads_does_not_depend_on_its_neighbours(written):
    alone = [parse_times(pd.Series([text]), "America/New_York", "ingest.time")[0] for text in written]
    assert parse_times(pd.Series(written), "America/New_York", "ingest.time").tolist() == alone


@pytest.mark.parametrize(
    ("written", "form"),
    [
        (["2024-01-01", "9999-12-31", "0001-01-01 00:00:00Z"], None),
        ([date(2024, 1, 1), date(9999, 12, 31), date(1, 1, 1)], None),
        (["01.01.2024", "31.12.9999", "01.01.0001"], "%d.%m.%Y"),
    ],
)
def test_times_may_be_of_any_year(written, form):
    times = parse_times(pd.Series(written, dtype=object), "UTC", "ingest.time", form)
    assert times.to_numpy().tolist() == [datetime(2024, 1, 1), datetime(9999, 12, 31), datetime(1, 1, 1)]


def test_a_time_that_does_not_parse_is_refused_with_count_and_example():
    with pytest.raises(SourceError) as caught:
        land(orders(at=["2013-01-01", "soon", None, "soon"]))
    assert "ingest.time: 2 of 4 values of 'at' are not times, the first is 'soon'" in str(caught.value)


@pytest.mark.parametrize("ambiguous", ["01/02/2013", "3 Jan 2013", "now", "today"])
def test_times_that_need_guessing_are_refused(ambiguous):
    with pytest.raises(SourceError, match="write them as 2013-01-31"):
        land(orders(at=ambiguous))


@pytest.mark.parametrize("numbers", [1357000000, 20130101.0, True, Decimal(5)])
def test_numbers_are_not_taken_for_times(numbers):
    with pytest.raises(SourceError, match="holds numbers such as"):
        land(orders(at=numbers))


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NaT])
def test_an_empty_time_column_is_refused(nothing):
    with pytest.raises(SourceError, match="'at' is empty"):
        land(orders(at=nothing))


# Inputs


def test_text_where_numbers_belong_is_kept_as_text_and_named():
    landed = land(orders(size=[1, "2", "much", None]))
    assert landed.facts["mistyped"] == {"size": {"kind": "number", "examples": ["much"]}}
    assert landed.rows["size"].tolist() == ["2", "much", "1", None]


def test_text_is_read_as_numbers_where_the_config_says_so_and_counted():
    landed = land(orders(size=[1, "2", "much", None]), ingest(coerce=["size"]))
    assert landed.facts["coerced"] == {"size": {"parsed": 1, "failed": 1}}
    assert landed.facts["mistyped"] == {}
    np.testing.assert_array_equal(landed.rows["size"], [2.0, np.nan, 1.0, np.nan])


def test_numbers_need_no_coercion():
    assert land(orders(), ingest(coerce=["size"])).facts["coerced"] == {}


@pytest.mark.parametrize(
    ("given", "kind", "values"),
    [
        (pd.Series([1, 2], dtype=np.int16), "int64", [1, 2]),
        (pd.Series([True, False]), "int64", [1, 0]),
        (pd.Series([True, None], dtype=object), "float64", [1, np.nan]),
        (pd.Series([1, None], dtype="Int64"), "float64", [1, np.nan]),
        (pd.Series([1.5, None], dtype="Float64"), "float64", [1.5, np.nan]),
        (pd.Series([True, None], dtype="boolean"), "float64", [1, np.nan]),
        (pd.Series([1.5, 2], dtype=np.float32), "float32", [1.5, 2]),
        (pd.Series([Decimal("1.5"), None]), "float64", [1.5, np.nan]),
        (pd.Series([None, None]), "float64", [np.nan, np.nan]),
        (pd.Series([2**63], dtype=np.uint64), "float64", [2.0**63]),
        (pd.Series([2**63], dtype="UInt64"), "float64", [2.0**63]),
        (pd.Series([1, 2], dtype="int64[pyarrow]"), "int64", [1, 2]),
        (pd.Series([1, 2]).astype("category"), "int64", [1, 2]),
    ],
    ids=str,
)
def test_numbers_are_recognised(given, kind, values):
    numbers = as_numbers(given)
    assert numbers is not None
    assert numbers.dtype == kind
    np.testing.assert_array_equal(numbers, values)


@pytest.mark.parametrize(
    "given", [["1"], [1, "a"], [True, 2, "x"], [pd.Timestamp("2013-01-01")], [b"1"], [[1]]], ids=str
)
def test_other_things_are_not_numbers(given):
    assert as_numbers(pd.Series(given)) is None


def test_columns_of_mixed_types_become_text_and_are_named():
    landed = land(orders(colour=[1, "red", 1.5, None]))
    assert landed.facts["mixed"] == ["colour"]
    assert landed.rows["colour"].tolist() == ["red", "1.5", "1", None]


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (["a", None, "b", "c"], "object"),
        (pd.array(["a", None, "b", "c"], dtype="string"), "object"),
        (pd.Categorical(["a", None, "b", "c"]), "category"),
        (pd.Categorical([1, 2, 3, 4]), "int64"),
        ([1, 2, 3, 4], "int64"),
        ([date(2013, 1, 1)] * 4, "datetime64[us]"),
        (pd.to_datetime(["2013-01-01"] * 4, utc=True), "datetime64[us]"),
    ],
    ids=str,
)
def test_other_columns_keep_a_type_that_can_be_stored(given, kind, tmp_path):
    landed = land(orders(colour=given))
    assert landed.rows["colour"].dtype == kind
    assert landed.facts["mixed"] == []
    landed.rows.to_parquet(tmp_path / "rows.parquet")


@pytest.mark.parametrize("odd", [[1, "a", None, 2.5], [b"a", 1, None, "x"]], ids=str)
def test_whatever_comes_can_be_stored(odd, tmp_path):
    landed = land(orders(colour=odd, size=odd))
    landed.rows.to_parquet(tmp_path / "rows.parquet")
    assert landed.rows["colour"].isna().sum() == 1


def test_lists_and_structs_are_refused_by_name_and_only_where_they_are_wanted():
    odd = [[1], {"a": 1}, None, True]
    with pytest.raises(SourceError, match="'size', 'colour' hold lists, structs or maps"):
        land(orders(colour=odd, size=odd))
    assert land(orders(other=odd)).facts["extra"] == ["other"]


def test_text_is_the_same_for_the_same_value():
    assert as_text(pd.Series([1, 2])).tolist() == as_text(pd.Series([1.0, 2.0, np.nan])).tolist()[:2] == ["1", "2"]
    assert (
        as_text(pd.Series([True, False])).tolist() == as_text(pd.Series([True, False, None], dtype=object))[:2].tolist()
    )
    assert as_text(pd.Series(["1.0", "a"])).tolist() == ["1.0", "a"]


# Labels


@pytest.mark.parametrize(
    ("label", "outcomes", "expected"),
    [
        ({}, [0, 1, 1, 0], [1, 1, 0, 0]),
        ({}, [False, True, None, True], [1, 0, 1]),
        ({}, pd.array([0, 1, None, 1], dtype="Int64"), [1, 0, 1]),
        ({"above": 15}, [15, 16, np.nan, 15.5], [1, 0, 1]),
        ({"positive": "yes"}, ["no", "yes", None, "yes"], [1, 0, 1]),
        ({"positive": 2}, [1, 2, 2.0, np.nan], [1, 1, 0]),
        ({"positive": "2"}, [1, 2, 2.0, np.nan], [1, 1, 0]),
        ({"positive": True}, [0, 1, np.nan, 1.0], [1, 0, 1]),
    ],
    ids=str,
)
def test_binary_labels(label, outcomes, expected):
    landed = land(orders(late=outcomes), ingest(label))
    assert landed.labels["label"].tolist() == expected
    assert landed.labels["label"].dtype == np.float64
    assert landed.facts["no_outcome"] == 4 - len(expected)


def test_regression_labels_are_numbers_and_infinity_is_no_outcome():
    landed = land(orders(late=[1.5, np.inf, np.nan, -2]), task=Task.REGRESSION)
    assert landed.labels["label"].tolist() == [1.5, -2.0]
    assert (landed.facts["infinite_outcomes"], landed.facts["no_outcome"]) == (1, 2)


@pytest.mark.parametrize("classes", [["3", "1", None, "4"], [3, 1, None, 4], [3.0, 1.0, np.nan, 4.0]], ids=str)
def test_multiclass_labels_are_text(classes):
    assert land(orders(late=classes), task=Task.MULTICLASS).labels["label"].tolist() == ["1", "3", "4"]


def test_a_binary_label_with_other_values_is_refused():
    with pytest.raises(SourceError, match=r"holds 2 values besides 0 and 1: '3' \(1\), '2' \(1\)"):
        land(orders(late=[2, 0, 3, 1]))


def test_text_in_a_numeric_label_is_refused_with_count_and_example():
    with pytest.raises(SourceError, match=r"2 values are not numbers, the first is 'lost'; list .* in ingest.missing"):
        land(orders(late=["1", "lost", None, "lost"]), task=Task.REGRESSION)
    with pytest.raises(SourceError, match=r"holds 2 values besides 0 and 1: 'lost' \(2\)"):
        land(orders(late=["1", "lost", None, "lost"]))


@pytest.mark.parametrize("task", [Task.BINARY, Task.REGRESSION])
def test_numbers_that_are_text_are_the_same_outcomes(task):
    landed = land(orders(late=["1", "0", None, "1.0"]), task=task)
    assert landed.labels["label"].tolist() == [0.0, 1.0, 1.0]


def test_a_label_can_be_coerced():
    landed = land(orders(late=["1", "lost", None, "0"]), ingest(coerce=["late"]))
    assert landed.labels["label"].tolist() == [1.0, 0.0]
    assert landed.facts["coerced"] == {"late": {"parsed": 2, "failed": 1}}


def test_a_label_is_never_known_before_its_row():
    told = pd.to_datetime(["2013-01-01", "2013-01-05", None, None])
    landed = land(orders(told=told, late=[1, 1, np.nan, 1]), known_by_column())
    assert landed.labels["known_at"].astype(str).tolist() == ["2013-01-05", "2013-01-03", "NaT"]
    assert (landed.facts["known_at_clipped"], landed.facts["known_at_missing"]) == (1, 1)


def test_when_a_label_became_known_must_be_a_time():
    with pytest.raises(SourceError, match=r"ingest.label.known_at: 4 of 4 values of 'told' are not times"):
        land(orders(told="later"), known_by_column())


@given(
    st.lists(
        st.tuples(
            st.none() | st.integers(0, 5),
            st.none() | st.sampled_from(pd.date_range("2013-01-01", periods=3).tolist()),
            st.none() | st.booleans(),
            st.none() | st.datetimes(datetime(2013, 1, 1), datetime(2013, 1, 9)),
        ),
        max_size=20,
    )
)
def test_every_row_is_landed_or_counted(table):
    raw = pd.DataFrame(table, columns=["id", "at", "late", "told"]).assign(at=lambda r: pd.to_datetime(r["at"]))
    config = known_by_column()
    if len(raw) and raw["at"].isna().all():
        return
    landed = split(raw, config, Task.BINARY, ["id", "at"], [])
    rows, labels, facts = landed.rows, landed.labels, landed.facts
    assert facts["rows_read"] == len(rows) + facts["null_keys"] + facts["null_times"] + facts["duplicates"]
    assert len(rows) == len(labels) + facts["no_outcome"]
    assert rows["row_id"].is_unique
    pd.testing.assert_frame_equal(rows, rows.sort_values(["event_time", "row_id"], ignore_index=True))
    assert set(labels["row_id"]) <= set(rows["row_id"])
    assert not (labels["known_at"] < labels["event_time"]).any()


# Values that mean that there is none


def test_sentinels_are_missing_and_counted():
    config = ingest(missing={"size": [-200, "?"]})
    landed = land(orders(size=[-200, "?", 1.5, "-200.0"]), config)
    assert landed.facts["sentinels"] == {"size": 3}
    assert landed.facts["mistyped"] == {}
    np.testing.assert_array_equal(landed.rows["size"], [np.nan, 1.5, np.nan, np.nan])
    assert landed.rows["size"].dtype == "float64"


@pytest.mark.parametrize(
    "written",
    [
        [-200, 1, 2, 3],
        [-200.0, 1.0, 2.0, 3.0],
        ["-200", "1", "2", "3"],
        ["-200.0", "1", "2", "3"],
        [" -2e2 ", " 1", "2", "3"],
        pd.Categorical(["-200", "1", "2", "3"]),
        pd.array([-200, 1, 2, 3], dtype="Int64"),
        pd.array(["-200", "1", "2", "3"], dtype="string"),
        [Decimal(-200), Decimal(1), Decimal(2), Decimal(3)],
    ],
    ids=str,
)
@pytest.mark.parametrize("value", [-200, -200.0, "-200"])
@pytest.mark.parametrize("column", ["size", "*"])
def test_numbers_are_compared_as_numbers_however_they_are_written(written, value, column):
    landed = land(orders(size=written), ingest(missing={column: [value]}))
    assert landed.facts["sentinels"] == {"size": 1}
    np.testing.assert_array_equal(landed.rows["size"], [1.0, 2.0, np.nan, 3.0])


def test_a_code_is_no_number():
    landed = land(orders(colour=["000", "0", "0.0", "x"]), ingest(missing={"colour": [0]}))
    assert landed.rows["colour"].fillna("none").tolist() == ["none", "none", "000", "x"]


def test_the_label_has_sentinels_too():
    landed = land(orders(late=["1", "?", "0", "-"]), ingest(missing={"late": ["?", "-"]}))
    assert landed.labels["label"].tolist() == [0.0, 1.0]
    assert (landed.facts["sentinels"], landed.facts["no_outcome"]) == ({"late": 2}, 2)


def test_text_labels_keep_their_text():
    config = ingest({"positive": "01"}, missing={"*": ["?"]})
    assert land(orders(late=["01", "?", "02", "01"]), config).labels["label"].tolist() == [0.0, 1.0, 1.0]


def test_the_key_has_only_sentinels_of_its_own():
    assert land(orders(), ingest(missing={"*": [1]})).facts["null_keys"] == 0
    landed = land(orders(), ingest(missing={"id": [1]}))
    assert (landed.facts["null_keys"], landed.facts["sentinels"]) == (1, {"id": 1})


def test_a_time_may_be_a_sentinel():
    landed = land(orders(at=["2013-01-01", "?", "2013-01-02", "2013-01-03"]), ingest(missing={"at": ["?"]}))
    assert (landed.facts["null_times"], landed.facts["rows"]) == (1, 3)


def test_text_of_which_numbers_truth_or_times_are_left_is_what_a_csv_without_sentinels_is():
    for texts, kind in (
        (["?", "1.50", "2", "3"], "float64"),
        (["?", "2013-01-01", None, "2013-01-02"], "datetime64[us]"),
    ):
        landed = land(orders(colour=texts), ingest(missing={"colour": ["?"]}))
        assert landed.rows["colour"].dtype == kind
    truth = land(orders(colour=["?", "true", "False", "true"]), ingest(missing={"colour": ["?"]})).rows["colour"]
    assert truth.tolist()[:2] == [1.0, 0.0]


def test_text_of_a_database_stays_text_unless_it_is_to_be_numbers():
    source = {"kind": "sql", "url": "sqlite:///x.db", "query": "SELECT 1"}
    config = ingest(source=source, missing={"*": ["?"]})
    landed = land(orders(colour=["?", "1.50", "2", "3"], size=["?", "1.50", "2", "3"]), config)
    assert landed.rows["colour"].fillna("none").tolist() == ["1.50", "2", "none", "3"]
    np.testing.assert_array_equal(landed.rows["size"], [1.5, 2.0, np.nan, 3.0])


def test_other_text_in_a_numeric_column_still_is_named():
    landed = land(orders(size=["?", "much", "1", None]), ingest(missing={"size": ["?"]}))
    assert ([*landed.facts["mistyped"]], landed.facts["sentinels"]) == (["size"], {"size": 1})
    landed = land(orders(size=["?", "much", "1", None]), ingest(missing={"size": ["?"]}, coerce=["size"]))
    assert landed.facts["coerced"] == {"size": {"parsed": 1, "failed": 1}}


def test_a_decimal_comma_is_known_beside_sentinels():
    source = {"kind": "files", "path": "orders.csv", "decimal": ","}
    landed = land(orders(size=["1,5", "-200,0", "2", "?"]), ingest(source=source, missing={"size": [-200, "?"]}))
    np.testing.assert_array_equal(landed.rows["size"], [np.nan, 2.0, 1.5, np.nan])


@given(st.lists(st.none() | st.integers(-3, 3) | st.sampled_from(["?", "1", "-1.0", "x"]), min_size=1, max_size=20))
def test_every_sentinel_is_counted_and_nothing_else_is_lost(values):
    raw = pd.DataFrame({"id": range(len(values)), "at": pd.Timestamp("2013-01-01"), "colour": values, "late": 1.0})
    config = ingest(missing={"colour": ["?", -1]})
    landed = split(raw, config, Task.BINARY, ["id", "at", "colour"], [])
    gone = [v for v in values if v in ("?", -1, "-1.0")]
    assert landed.facts["sentinels"].get("colour", 0) == len(gone)
    assert landed.rows["colour"].notna().sum() == sum(v is not None for v in values) - len(gone)


def test_times_in_a_format_of_their_own():
    config = known_by_column().model_copy(update={"time_format": "%d/%m/%Y"})
    raw = orders(
        at=["03/01/2013", "01/01/2013", "02/01/2013", "04/01/2013"], told=["05/02/2013", None, None, "06/02/2013"]
    )
    landed = land(raw, config)
    assert landed.rows["event_time"].dt.day.tolist() == [1, 2, 3, 4]
    assert landed.labels["known_at"].dropna().astype(str).tolist() == ["2013-02-05", "2013-02-06"]
    with pytest.raises(
        SourceError, match=r"ingest.label.known_at: .* the first is '2013-02-05'; they are not of the form"
    ):
        land(raw.assign(told="2013-02-05"), config)
