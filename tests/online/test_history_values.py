"""A server computes history features of a row to the bit as the loop computes them when the row has landed."""

from __future__ import annotations

import math
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.online.pasts import START, moments, served, spec, store
from trueup.domain.features.history import history_features, history_names
from trueup.errors import UntrustedModel, WorkError
from trueup.serving import state
from trueup.serving.history import HistoryStore, microseconds

SPECS = [
    spec(by=["carrier", ["carrier", "flight"], ["carrier", "flight", "dest"]], windows=["5 hours", "1 day"]),
    spec(name="long", of="delay", by=["carrier", "dest"], windows=["12 hours", "2 days"]),
    spec(name="two", of="flight", aggregate="rate", equals=2, windows=["1 day"], counts=False),
    spec(name="seen", of="delay", aggregate="count", by=["flight"], windows=["3 hours"]),
]
COLUMNS: dict[str, Any] = {"columns": {"flight": "number"}}


def frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of (hours, carrier, flight, dest, label, delay, hours until known or None)."""
    hours, carrier, flight, dest, label, delay, wait = zip(*rows, strict=True) if rows else [()] * 7
    known = [math.nan if w is None else h + w for h, w in zip(hours, wait, strict=True)]
    return pd.DataFrame(
        {
            "carrier": pd.Series(carrier, dtype=object),
            "dest": pd.Series(dest, dtype=object),
            "flight": pd.Series(flight, dtype=float),
            "label": pd.Series(label, dtype=float),
            "delay": pd.Series(delay, dtype=float),
            "event_time": moments(hours),
            "known_at": pd.Series(
                [pd.NaT if math.isnan(k) else moments([k])[0] for k in known], dtype="datetime64[us]"
            ),
        }
    )


numbers = st.sampled_from([0.1, -3.7, 1 / 3, 1e15, -1e15, 1e-9, 5e-324, 1e300, -1e300, math.inf, None]) | st.floats(
    -1e6, 1e6
)
row = st.tuples(
    st.integers(0, 40),
    st.sampled_from(["AA", "UA", "true", "Ünï", None]),
    st.sampled_from([1, 2, 2.5, None]),
    st.sampled_from(["JFK", "LGA", None]),
    st.sampled_from([0, 1, 1, None]),
    numbers,
    st.integers(-3, 30) | st.none(),  # how late the label is
)
frames = st.lists(row, max_size=25).map(frame)


@given(frames, frames, st.lists(st.integers(0, 2), min_size=25, max_size=25))
def test_online_and_offline_are_the_same_bits(queries, past, files):
    which = np.array(files[: len(past)], dtype=int)
    parts = [past[which == number] for number in range(3)]
    with TemporaryDirectory() as folder, np.errstate(over="ignore"):
        online = served(store(Path(folder), parts, SPECS, **COLUMNS), queries, SPECS)
        offline = history_features(queries, past, SPECS).to_numpy()
    np.testing.assert_array_equal(online, offline, strict=True)


@given(st.lists(numbers, min_size=1, max_size=40), st.integers(1, 40))
def test_a_mean_is_the_exact_sum_rounded_once_whatever_came_before(values, window):
    past = frame([(h, "AA", 1, "JFK", 1, value, 0) for h, value in enumerate(values)])
    query = frame([(len(values), "AA", 1, "JFK", 1, 0, 0)])
    one = [spec(of="delay", windows=[f"{window} hours"])]
    inside = [v for v in values[-window:] if v is not None and math.isfinite(v)]
    with np.errstate(over="ignore"):
        mean = np.float32(math.fsum(inside) / len(inside)) if inside else np.float32(np.nan)
        offline = history_features(query, past, one).to_numpy()
    np.testing.assert_array_equal(offline, np.array([[mean, len(inside)]], dtype=np.float32))


@pytest.mark.parametrize("values", [[1.0, 1.0], [1.0, -1.0, 0.1], [0.999, 1e-320, -3.0]])
def test_the_largest_numbers_come_to_the_same_end(tmp_path, values):
    huge = [value * sys.float_info.max if abs(value) <= 1 and value > 1e-300 else value for value in values]
    past = frame([(h, "AA", 1, "JFK", 1, value, 0) for h, value in enumerate(huge)])
    one = [spec(of="delay", windows=["1 hour", "5 hours"])]
    with np.errstate(over="ignore", invalid="ignore"):
        online = served(store(tmp_path, [past], one), past, one)
        offline = history_features(past, past, one).to_numpy()
    np.testing.assert_array_equal(online, offline, strict=True)


@pytest.mark.parametrize(
    ("landed", "kind", "sent", "others"),
    [
        ([1.0, 0.0], "number", [1, 1.0, True, "1", "1.0", "true"], [2, "x", None, 0.5]),
        ([2**53 - 1, 7], "number", [2**53 - 1, str(2**53 - 1)], [2**53]),
        ([0.1, 1e-7], "number", [0.1, "0.1"], [0.10000001, math.nan]),
        (["101", "7"], "digits", [101, 101.0, "101", "101.0"], ["0101", "101.5"]),
        (["true", "x"], "text", [True, "True", "true", "TRUE"], ["tRUE", 1]),
        (["1.0", "x"], "text", ["1.0"], [1, 1.0, "1"]),
        (["a\u2400b", "x"], "text", ["a\0b"], ["ab"]),
        ([pd.Timestamp("2013-01-05 04:00"), pd.Timestamp("2013-01-06")], "time", ["2013-01-05T04:00", "2013-01-05T09:00Z"], ["2013-01-05", "now"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_key_is_the_same_however_it_is_written(tmp_path, landed, kind, sent, others):
    past = frame([(1, "AA", 1, "JFK", 1, 0, 1), (1, "AA", 1, "JFK", 0, 0, 1)]).assign(carrier=pd.Series(landed))
    one = [spec()]
    plan = store(tmp_path, [past], one, columns={"carrier": kind}, timezone="America/New_York").plan(history_names(one))
    now = microseconds(START + timedelta(hours=20))
    assert [plan.values({"carrier": value}, now) for value in sent] == [[1.0, 1.0]] * len(sent)
    for value in others:
        mean, count = plan.values({"carrier": value}, now)
        assert math.isnan(mean) or mean == 0
        assert count == 0 or mean == 0


def test_a_plan_has_the_names_it_was_asked_for_in_their_order(tmp_path):
    past = frame([(1, "AA", 1, "JFK", 1, 0.5, 1), (2, "AA", 2, "LGA", 0, 0.5, 1)])
    held = store(tmp_path, [past], SPECS, **COLUMNS)
    plan = held.plan(["long_carrier_12h", "late_carrier_1d_n", "late_carrier_flight_1d"])
    row = {"carrier": "AA", "flight": 2}
    assert plan.values(row, 1_357_020_000_000_000) == [0.5, 2.0, 0.0]
    assert plan.columns == ("carrier", "flight")
    assert math.isnan(plan.values({}, 1_357_020_000_000_000)[0])
    assert held.plan([]).values({}, 0) == []
    with pytest.raises(WorkError, match="has no feature later"):
        held.plan(["later"])


def test_it_names_the_features_that_miss_a_part_of_their_past(tmp_path):
    past = frame([(1, "AA", 1, "JFK", 1, 0.5, 1)])
    names = ["late_carrier_1d", "late_carrier_5h"]
    plan = store(tmp_path, [past], SPECS, complete_since="2013-01-02T00:00:00", **COLUMNS).plan(names)
    hours = (4, 5, 23, 24)
    missed = [plan.incomplete(microseconds(START + timedelta(days=1, hours=hour))) for hour in hours]
    assert missed == [("late_carrier_1d", "late_carrier_5h"), ("late_carrier_1d",), ("late_carrier_1d",), ()]
    assert store(tmp_path, [past], SPECS, **COLUMNS).plan(names).incomplete(0) == ()


def test_files_that_are_not_those_published_are_refused(tmp_path):
    past = frame([(1, "AA", 1, "JFK", 1, 0.5, 1)])
    store(tmp_path, [past], SPECS)
    file = next((tmp_path / state.HISTORY).iterdir())

    def load() -> HistoryStore:
        files = (state.HistoryFile(file=file.name, sha256=file.name, events=1),)
        return HistoryStore.load(tmp_path, state.History(specs=(), files=files, known_until=None))

    assert load().events == 1
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    with pytest.raises(UntrustedModel, match="its digest differs"):
        load()
    file.unlink()
    with pytest.raises(WorkError, match="cannot be read"):
        load()
