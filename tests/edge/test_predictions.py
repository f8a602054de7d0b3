"""Predictions from plain dicts."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.edge import bundles
from trueup.domain.features import features
from trueup_edge import inputs, load
from trueup_edge.errors import InputError

ROW = bundles.ROWS[0][0]
CODES = bundles.ROWS[0][1]
WEEKDAY, HOUR = bundles.NAMES.index("at_weekday"), bundles.NAMES.index("at_hour")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    return load(bundles.write(folder / "bundle"), trust=bundles.trust(folder / "trust.json"))


def expected(**changes: float) -> float:
    codes = [changes.get(name, code) for name, code in zip(bundles.NAMES, CODES, strict=True)]
    return pytest.approx(bundles.predicted(codes)[0], rel=1e-12)


@pytest.mark.parametrize("task", ["binary", "regression", "multiclass"])
def test_each_task_predicts_what_the_graph_computes(tmp_path, task):
    model = load(bundles.write(tmp_path / "bundle", task=task), trust=bundles.trust(tmp_path / "trust.json"))
    row, codes = bundles.ROWS[0]
    values = bundles.predicted(codes, task)
    prediction = model.predict(row)
    if task == "multiclass":
        assert list(prediction) == list(bundles.CLASSES)
        assert list(prediction.values()) == pytest.approx(values, rel=1e-12)
    else:
        assert type(prediction) is float
        assert prediction == pytest.approx(values[0], rel=1e-12)
    assert model.predict_many([row, row]) == [prediction, prediction]
    assert model.predict_many([]) == []


def test_missing_values_are_none_nan_or_absent(model):
    for value in (None, math.nan, np.nan, np.float32("nan")):
        assert model.predict(ROW | {"speed": value}) == expected(speed=7.5)
        assert model.predict(ROW | {"distance": value}) == expected(distance=math.nan)
        assert model.predict(ROW | {"carrier": value}) == expected(carrier=3)
    assert model.predict({k: v for k, v in ROW.items() if k != "speed"}) == expected(speed=7.5)
    assert model.predict({k: v for k, v in ROW.items() if k != "carrier"}) == expected(carrier=3)


def test_numbers_of_any_type_count(model):
    for value in (1, 1.0, True, np.int64(1), np.float32(1), np.bool_(True)):
        assert model.predict(ROW | {"speed": value}) == expected(speed=1)


def test_float32_inputs_are_rounded_to_it(model):
    assert model.predict(ROW | {"rate": 16777217}) == expected(rate=16777216)
    assert model.predict(ROW | {"distance": 16777217}) == expected(distance=16777217)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("AA", 0),
        ("UA", 1),
        ("5", 2),
        (5, 2),
        (5.0, 2),
        (np.int64(5), 2),
        (np.str_("AA"), 0),
        ("aa", 4),
        (5.5, 4),
        ("", 4),
    ],
)
def test_categories_are_text_or_what_training_would_write_as_text(model, value, code):
    assert model.predict(ROW | {"carrier": value}) == expected(carrier=code)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (True, 1),
        ("true", 1),
        ("True", 1),
        ("TRUE", 1),
        (False, 0),
        ("FALSE", 0),
        (np.bool_(True), 1),
        ("tRUE", math.nan),
    ],
)
def test_booleans_are_written_as_in_training(model, value, code):
    assert model.predict(ROW | {"warm": value}) == expected(warm=code)


def test_calendar_inputs_come_from_the_time_column(model):
    row = {name: value for name, value in ROW.items() if not name.startswith("at_")}
    friday = {"at_weekday": 4, "at_hour": 18}
    for time in (
        datetime(2024, 3, 1, 18, 30),
        pd.Timestamp("2024-03-01 18:30"),
        "2024-03-01T18:30:00",
        "2024-03-01T23:30:00Z",  # New York is five hours behind
        "2024-03-01T23:30:00+00:00",
        datetime(2024, 3, 2, 4, 30, tzinfo=timezone(timedelta(hours=5))),
    ):
        assert model.predict(row | {"at": time}) == expected(**friday)
    assert model.predict(row | {"at": "2024-03-01T18:30:00", "at_weekday": 0}) == expected(at_weekday=0, at_hour=18)
    for missing in ({}, {"at": None}, {"at": pd.NaT}):
        assert model.predict(row | missing) == expected(at_weekday=math.nan, at_hour=math.nan)


@given(st.datetimes(datetime(1950, 1, 1), datetime(2080, 1, 1)))
def test_calendar_parts_are_those_of_pandas(time):
    column = pd.Series([time])
    assert {name: part(time) for name, part in inputs._CALENDAR.items()} == {
        name: float(part(column).iloc[0]) for name, part in features._CALENDAR.items()
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"speed": "12"}, "speed is '12', text; a number is needed"),
        ({"speed": ""}, "speed is '', text"),
        ({"speed": [1]}, "speed is \\[1\\], a list"),
        ({"speed": 1j}, "speed is 1j, a complex"),
        ({"speed": np.complex128(1)}, "speed"),
        ({"speed": datetime(2024, 1, 1)}, "speed"),
        ({"speed": math.inf}, "speed is infinite"),
        ({"rate": 1e300}, "rate is infinite"),
        ({"rate": -math.inf}, "rate is infinite"),
        ({"distance": 10**400}, "distance is a whole number too large"),
        ({"distance": 10**400, "speed": np.float64(1)}, "distance is a whole number too large"),
        ({"speed": np.timedelta64(5, "ns")}, "speed is .*, a timedelta64"),
        ({"carrier": ["AA"]}, "carrier is \\['AA'\\], a list; a text is needed"),
        ({"carrier": b"AA"}, "carrier"),
        ({"sped": 1.0}, "sped is not an input of this model; did you mean speed"),
        ({"zzz": 1.0}, "zzz is not an input.*ignore_unknown"),
        ({1: 1.0}, "1 is not an input"),
    ],
)
def test_what_a_model_does_not_take_is_refused_by_name(model, change, reason):
    with pytest.raises(InputError, match=reason):
        model.predict(ROW | change)
    with pytest.raises(InputError, match=reason):
        model.predict_many([ROW, ROW | change])


@pytest.mark.parametrize("time", ["yesterday", 1709317800, "", datetime(2024, 3, 1).date()])
def test_times_that_are_none_are_refused_by_name(model, time):
    row = {name: value for name, value in ROW.items() if not name.startswith("at_")}
    with pytest.raises(InputError, match=r"^at is "):
        model.predict(row | {"at": time})


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59-12:00"])
def test_times_at_the_ends_of_the_calendar_are_refused_by_name(model, time):
    row = {name: value for name, value in ROW.items() if not name.startswith("at_")}
    with pytest.raises(InputError, match=r"^at is .*cannot have"):
        model.predict(row | {"at": time})


def test_a_number_too_large_is_refused_also_where_all_inputs_take_infinite_ones(tmp_path):
    inputs = [dict(column) | {"dtype": "float64", "infinite": True} for column in bundles.INPUTS]
    bundle = bundles.write(tmp_path / "bundle", inputs=inputs)
    model = load(bundle, trust=bundles.trust(tmp_path / "trust.json"))
    with pytest.raises(InputError, match="distance is a whole number too large"):
        model.predict(ROW | {"distance": 10**400})
    assert model.predict(ROW | {"distance": 2**1023}) == expected(distance=1e6)


def test_a_time_zone_that_the_device_does_not_know_is_named(tmp_path):
    bundle = bundles.write(tmp_path / "bundle", timezone="Mars/Olympus")
    model = load(bundle, trust=bundles.trust(tmp_path / "trust.json"))
    row = {name: value for name, value in ROW.items() if not name.startswith("at_")}
    assert model.predict(row | {"at": "2024-03-01T18:30:00"})
    with pytest.raises(InputError, match=r"Mars/Olympus.*tzdata"):
        model.predict(row | {"at": "2024-03-01T18:30:00Z"})


def test_infinite_values_count_where_the_model_takes_them(model):
    assert model.predict(ROW | {"distance": math.inf}) == expected(distance=math.inf)


def test_unknown_fields_are_ignored_only_on_request(bundle, anchor, model):
    lenient = load(bundle, trust=anchor, ignore_unknown=True)
    assert lenient.predict(ROW | {"remark": "x"}) == model.predict(ROW)
    assert lenient.fields == model.fields == {*bundles.NAMES, "at"}


def test_one_row_is_not_many(model):
    with pytest.raises(InputError, match="list of rows"):
        model.predict_many(ROW)


VALUES = st.none() | st.floats() | st.integers() | st.sampled_from([10**400, 3.4028235677973366e38, 1e-46, -0.0, True])


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "distance": VALUES,
                "speed": VALUES,
                "rate": VALUES,
                "carrier": st.none() | st.sampled_from(["AA", "UA", "5", "x", 5, math.nan]),
                "at": st.none() | st.datetimes(datetime(1950, 1, 1), datetime(2080, 1, 1)),
            },
        ),
        max_size=5,
    )
)
def test_one_by_one_and_all_at_once_are_encoded_alike(model, rows):
    encoder = model._encoder
    try:
        alone = [encoder.encode_one(row) for row in rows]
    except InputError as error:
        with pytest.raises(InputError, match=re.escape(str(error))):
            encoder.encode(rows)
        return
    assert encoder.encode(rows).tobytes() == b"".join(features.tobytes() for features in alone)
    assert model.predict_many(rows) == pytest.approx([model.predict(row) for row in rows], rel=1e-12)
