"""The feature frame: the same for training and scoring, and nothing in it that the config did not ask for."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import FeatureSchema, feature_frame, schema_of
from trueup.domain.records import from_json, to_plain
from trueup.errors import WorkError

ALL_PARTS = ["month", "day", "weekday", "hour", "minute_of_day", "day_of_year", "weekend"]


def features(**changes: Any) -> FeaturesConfig:
    given = {
        "numeric": ["distance"],
        "categorical": ["carrier"],
        "calendar": {"scheduled": ["weekday", "hour"]},
        "history": [{"name": "late", "by": ["carrier"], "windows": ["7 days"]}],
    }
    return FeaturesConfig.model_validate(given | changes)


def landed(**changes: Any) -> pd.DataFrame:
    times = pd.to_datetime(["2013-01-05 05:15", "2013-01-06 23:59", "2013-01-07 00:00"]).as_unit("us")
    table = {
        "row_id": [11, 12, 13],
        "event_time": times,
        "scheduled": times,
        "distance": [100, 200, 300],
        "carrier": ["UA", None, "AA"],
        "gate": ["a", "b", "c"],
    }
    return pd.DataFrame(table | changes)


def known(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(label=1.0, known_at=rows["event_time"] + pd.Timedelta(hours=1))


def test_the_frame_holds_what_the_config_asks_for_in_order():
    rows = landed()
    frame = feature_frame(rows, known(rows), features(), custom=lambda r: pd.DataFrame({"half": r["distance"] / 2}))
    assert frame.columns.tolist() == [
        "row_id",
        "event_time",
        "distance",
        "scheduled_weekday",
        "scheduled_hour",
        "late_carrier_7d",
        "late_carrier_7d_n",
        "half",
        "carrier",
    ]
    assert frame["distance"].dtype == np.float64
    assert frame["half"].tolist() == [50.0, 100.0, 150.0]
    assert frame["carrier"].astype(object).where(frame["carrier"].notna(), None).tolist() == ["UA", None, "AA"]
    assert frame["carrier"].cat.categories.tolist() == ["AA", "UA"]


def test_the_schema_names_the_features_in_the_order_of_the_frame():
    rows, config = landed(), features()
    frame = feature_frame(rows, known(rows), config)
    schema = schema_of(frame, config)
    assert ["row_id", "event_time", *schema.names] == frame.columns.tolist()
    assert schema.categorical == ("carrier",)
    assert from_json(FeatureSchema, json.dumps(to_plain(schema))) == schema


def test_calendar_parts():
    times = pd.to_datetime(["2013-01-05 05:15", None, "2012-12-31 23:59"]).as_unit("us")
    config = FeaturesConfig(calendar={"scheduled": ALL_PARTS})
    frame = feature_frame(landed(scheduled=times), pd.DataFrame(), config)
    parts = frame[[f"scheduled_{part}" for part in ALL_PARTS]]
    assert set(parts.dtypes) == {np.dtype(np.float32)}
    np.testing.assert_array_equal(parts, [[1, 5, 5, 5, 315, 5, 1], [np.nan] * 7, [12, 31, 0, 23, 1439, 366, 0]])


@pytest.mark.parametrize(
    "codes",
    [[1, None, 2], [1.0, np.nan, 2.0], ["1", None, "2"], pd.Categorical(["1", None, "2"], categories=["9", "2", "1"])],
    ids=str,
)
def test_a_category_is_the_same_in_whatever_type_it_was_landed(codes):
    frame = feature_frame(landed(carrier=codes), pd.DataFrame(), FeaturesConfig(categorical=["carrier"]))
    expected = pd.Series(pd.Categorical(["1", None, "2"]), name="carrier")
    pd.testing.assert_series_equal(frame["carrier"], expected)


def test_a_category_that_is_always_missing_and_a_frame_without_rows():
    config = features()
    frame = feature_frame(landed(carrier=np.nan), pd.DataFrame(), config)
    assert frame["carrier"].isna().all()
    assert isinstance(frame["carrier"].dtype, pd.CategoricalDtype)
    empty = feature_frame(landed().head(0), pd.DataFrame(), config)
    assert empty.columns.tolist() == frame.columns.tolist()
    assert empty.empty


@given(
    st.lists(
        st.tuples(st.integers(0, 300), st.sampled_from(["AA", "UA", None]), st.none() | st.floats(width=32)),
        max_size=20,
    ),
    st.integers(0, 19),
)
def test_a_row_has_the_same_features_whatever_is_scored_with_it(table, which):
    hours, carriers, distances = (list(column) for column in zip(*table, strict=True)) if table else ([], [], [])
    times = (pd.Timestamp("2013-01-01") + pd.to_timedelta(pd.Series(hours, dtype=float), unit="h")).astype(
        "datetime64[us]"
    )
    rows = pd.DataFrame(
        {
            "row_id": np.arange(len(table)),
            "event_time": times,
            "scheduled": times,
            "distance": pd.Series(distances, dtype=float),
            "carrier": pd.Series(carriers, dtype=object),
        }
    )
    whole = feature_frame(rows, known(rows), features())
    alone = feature_frame(rows.iloc[which : which + 1], known(rows), features())
    pd.testing.assert_frame_equal(alone, whole.iloc[which : which + 1], check_categorical=False, check_dtype=False)


def test_rows_are_not_changed_even_by_a_custom_function():
    def careless(rows: pd.DataFrame) -> pd.DataFrame:
        rows["distance"] = 0
        rows.loc[:, "gate"] = "z"
        return rows[["distance"]].rename(columns={"distance": "zero"})

    rows = landed()
    feature_frame(rows, known(rows), features(), careless)
    pd.testing.assert_frame_equal(rows, landed())


def test_a_custom_function_sees_the_landed_rows_only():
    seen: list[list[str]] = []

    def curious(rows: pd.DataFrame) -> pd.DataFrame:
        seen.append(rows.columns.tolist())
        return pd.DataFrame(index=rows.index)

    rows = landed()
    feature_frame(rows, known(rows), features(), curious)
    assert seen == [landed().columns.tolist()]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([True, False, None], [1, 0, np.nan]),
        (pd.array([1, None, 2], dtype="Int64"), [1, np.nan, 2]),
        ([1, 2, 3], [1, 2, 3]),
    ],
    ids=str,
)
def test_custom_numbers_of_any_type_are_taken(column, expected):
    frame = feature_frame(landed(), pd.DataFrame(), FeaturesConfig(custom="m:f"), lambda r: r.assign(x=column)[["x"]])
    np.testing.assert_array_equal(frame["x"], expected)
    assert frame["x"].dtype == np.float64


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda r: r["distance"], "returned a Series; return a DataFrame"),
        (lambda r: r[["distance"]].head(2), "returned 2 rows with another index than the 3"),
        (lambda r: r[["distance"]].iloc[::-1], "same index in the same order"),
        (lambda r: r[["gate"]], "returned gate, which is not numeric"),
        (lambda r: r[["distance"]], "returned distance, which is already a feature"),
        (lambda r: r.assign(late_carrier_7d=1)[["late_carrier_7d"]], "late_carrier_7d, which is already a feature"),
        (lambda r: r.assign(carrier=1)[["carrier"]], "carrier, which is already a feature"),
        (lambda r: r.assign(x=1)[["x", "x"]], "returned x, which is already a feature"),
        (lambda r: r.assign(x=[1.0, np.inf, 2.0])[["x"]], "infinite values in x"),
        (lambda r: r[["label"]], "failed: KeyError: .*label"),
    ],
)
def test_a_custom_function_that_gives_something_else_is_refused(function, message):
    rows = landed()
    with pytest.raises(WorkError, match=message) as caught:
        feature_frame(rows, known(rows), features(custom="mine:extra"), function)
    assert str(caught.value).startswith("features.custom: mine:extra ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numeric": ["distance", "speed"], "categorical": ["tail"]}, "the landed rows lack speed, tail"),
        ({"numeric": ["gate"]}, "features.numeric: gate holds text; add it to ingest.coerce"),
        ({"calendar": {"gate": ["hour"]}}, "features.calendar: gate does not hold times"),
        (
            {"history": [{"name": "late", "by": ["gate", "gate"], "windows": ["1 day"]}]},
            "late_gate_1d, late_gate_1d_n is",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(changes, message):
    rows = landed()
    with pytest.raises(WorkError, match=message):
        feature_frame(rows, known(rows), features(**changes))
