"""Rows become the numbers that devices compute, bit for bit; mistakes are all named at once."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from tests.serving.made import INPUTS, SERVE, Made, edge_manifest, state
from trueup.serving.encoding import mistakes
from trueup.serving.encoding.encoder import Encoder, history_inputs
from trueup.serving.encoding.inputs import microseconds
from trueup_edge import inputs

ENCODER = Encoder(INPUTS, state())
EDGE = inputs.Encoder(edge_manifest(), ignore_unknown=True)
WHOLE = {"distance": 1400, "delay": 3.3, "carrier": "UA", "gate": 2, "hour": "2013-01-01T05:15:00", "flight": 1545}

numbers = st.none() | st.floats(allow_nan=False, width=64) | st.integers(-(2**70), 2**70) | st.booleans()
texts = st.none() | st.sampled_from(["AA", "UA", "1", "TRUE", "true", "", "ZZ"]) | st.integers(0, 3) | st.floats(0, 3)
times = st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)).map(datetime.isoformat) | st.sampled_from(
    ["2013-03-10T07:30:00Z", "2013-11-03T06:30:00+00:00", "2024-02-29", "20240229T1200"]
)
rows = st.fixed_dictionaries(
    {"hour": times}, optional={"distance": numbers, "delay": numbers, "carrier": texts, "gate": texts | st.booleans()}
)


@given(st.lists(rows, min_size=1, max_size=4))
def test_the_same_numbers_as_on_devices(some):
    try:
        expected = EDGE.encode(some)
    except inputs.InputError:
        with pytest.raises(mistakes.RowsRefused):
            ENCODER.encode(some)
        return
    features = ENCODER.encode(some).features
    assert features.tobytes() == expected.tobytes()
    alone = np.concatenate([ENCODER.encode([row]).features for row in some])
    assert alone.tobytes() == expected.tobytes()


def test_says_what_is_missing_and_unknown_and_which_row_it_is():
    encoded = ENCODER.encode([{"hour": "2013-01-01T10:15:00Z", "carrier": "ZZ", "flight": 1545.0}, WHOLE])
    assert encoded.missing[0] == ("gate", "distance", "delay")
    assert encoded.unknown == [("carrier",), ()]
    assert encoded.missing[1] == ()
    assert encoded.times == ["2013-01-01T05:15:00"] * 2
    assert encoded.keys[0] == {"carrier": "ZZ", "flight": 1545.0, "hour": "2013-01-01T05:15:00"}


def test_a_row_without_a_key_column_has_no_key():
    assert ENCODER.encode([{**WHOLE, "flight": None}]).keys == [None]
    assert Encoder(INPUTS, state(key=())).encode([WHOLE]).keys == [None]


def refused(encoder, some, **how):
    with pytest.raises(mistakes.RowsRefused) as caught:
        encoder.encode(some, **how)
    return {m.where: f"{m.what}; {m.next}" for m in caught.value.mistakes}


def test_all_mistakes_of_all_rows_are_named():
    said = refused(
        ENCODER,
        [
            {**WHOLE, "distance": "far", "carier": "UA"},
            {**WHOLE, "delay": 1e39, "hour": "noon", "hour_weekday": 3},
            {"distance": 10**400, "flight": [1]},
        ],
    )
    assert said == {
        "rows[0].distance": "is 'far', a text; give a number, or null if it is missing",
        "rows[0].carier": "is no field of this model; did you mean carrier?",
        "rows[1].delay": "is 1e+39, which is infinite to this model; give a smaller number, or null if it is not known",
        "rows[1].hour": "is 'noon', which is no time; write it as 2024-01-31T18:30:00",
        "rows[1].hour_weekday": "is computed here; remove it, and send the fields that it is computed from",
        "rows[2].hour": "is missing; give the time of the row, such as 2024-01-31T18:30:00: features depend on it",
        "rows[2].distance": "is a whole number too large for a float; give one below 1e308",
        "rows[2].flight": "is [1], a list; give a text or a number",
    }


def test_at_most_twenty_mistakes_are_listed():
    assert len(refused(ENCODER, [{"hour": 5}] * 50)) == mistakes.LIMIT


class Plan:
    """History of a row: the moment and a constant."""

    def values(self, row, now_us):
        return [float(now_us), float(row["flight"] is not None)]

    def incomplete(self, now_us):
        return ("late_7d",) if now_us < microseconds(datetime(2013, 1, 1)) else ()


HISTORY = (Made(name="late_7d", of="history", dtype="float32"), Made(name="late_7d_n", of="history"))


def test_history_is_asked_for_the_local_moment_of_the_row():
    inputs_ = (HISTORY[0], *INPUTS, HISTORY[1])
    assert history_inputs(inputs_) == ["late_7d", "late_7d_n"]
    encoder = Encoder(inputs_, state(), history=Plan())
    features = encoder.encode([{**WHOLE, "hour": "2013-01-01T10:15:00Z"}]).features
    assert features[0, 0] == np.float32(microseconds(datetime(2013, 1, 1, 5, 15)))
    assert features[0, -1] == 1
    assert encoder.history_of(features) == [{"late_7d": float(features[0, 0]), "late_7d_n": 1.0}]
    assert "rows[0].hour" in refused(encoder, [{"distance": 1}])


def test_history_that_is_not_all_there_is_named():
    encoder = Encoder((*INPUTS, *HISTORY), state(), history=Plan())
    early, later = ({**WHOLE, "hour": f"{year}-02-01T10:15:00Z"} for year in (2012, 2013))
    assert [set(row) for row in encoder.encode([early, later]).missing] == [{"late_7d"}, set()]


def test_clients_of_other_servers_may_send_what_is_computed_here():
    encoder = Encoder((*INPUTS, *HISTORY), state(), history=Plan())
    derived = {"late_7d": 0.5, "late_7d_n": 4, "hour_weekday": 2, "hour_minute_of_day": 30}
    features = encoder.encode([{**derived, "distance": 7, "else": [1]}], derived=True).features
    assert features[0, 4:].tolist() == [2, 30, 0.5, 4]
    assert encoder.encode([{**WHOLE, "late_7d": 0.5}], derived=True).features[0, -2:].tolist() == [0.5, 1]
    assert "rows[0].late_7d" in refused(encoder, [{**WHOLE, "late_7d": "x"}], derived=True)


def custom(row):
    assert isinstance(row["hour"], datetime)
    return {"per_mile": row["delay"] / row["distance"], "kind": "b"}


CUSTOM = (
    Made(name="per_mile", of="custom"),
    Made(name="kind", of="custom", kind="category", categories=("a", "b"), missing=-1.0),
)


def test_custom_features_come_from_the_users_function():
    encoder = Encoder((*INPUTS, *CUSTOM), state(), custom=custom)
    assert encoder.encode([WHOLE]).features[0, -2:].tolist() == [3.3 / 1400, 1.0]


def test_a_custom_function_that_fails_is_named():
    named = structs.replace(SERVE, features="shop:online")
    encoder = Encoder((*INPUTS, *CUSTOM), state(serve=named), custom=custom)
    said = refused(encoder, [{**WHOLE, "distance": 0}])
    assert said == {
        "rows[0]": "shop:online raised ZeroDivisionError: float division by zero; check the fields that it takes, or mend it"
    }
    encoder = Encoder((*INPUTS, *CUSTOM), state(serve=named), custom=lambda row: {"kind": row})
    assert refused(encoder, [WHOLE])["rows[0]"].startswith("shop:online returned no per_mile")


def test_rows_of_all_inputs_by_name_are_encoded_as_they_are():
    row = {
        "distance": None,
        "delay": 1.5,
        "carrier": None,
        "gate": "true",
        "hour_weekday": 1.0,
        "hour_minute_of_day": 2.0,
    }
    assert ENCODER.encode_inputs([row]).tobytes() == EDGE.encode([row]).tobytes()
