"""History features: equal to a plain reference, and never from the future."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.features import HistoryConfig
from trueup.domain.features import history
from trueup.domain.features.history import history_features, history_names, needed_reach
from trueup.errors import WorkError

START = datetime(2013, 1, 1)
HOUR = timedelta(hours=1)


def spec(**changes: Any) -> HistoryConfig:
    return HistoryConfig.model_validate({"name": "late", "by": ["carrier"], "windows": ["1 day"]} | changes)


SPECS = [
    spec(by=["carrier", ["carrier", "flight"]], windows=["5 hours", "1 day"]),
    spec(name="long", of="delay", windows=["12 hours"]),
    spec(name="two", of="flight", aggregate="rate", equals=2, windows=["1 day"]),
    spec(name="seen", of="delay", aggregate="count", by=["flight"], windows=["3 hours"]),
]


def frame(rows: list[tuple[Any, ...]]) -> pd.DataFrame:
    """Rows of (hours, carrier, flight, label, delay, hours until known or None)."""
    table = pd.DataFrame(rows, columns=["hours", "carrier", "flight", "label", "delay", "wait"], dtype=object)
    happened = START + pd.to_timedelta(table["hours"].astype(float), unit="h")
    known = happened + pd.to_timedelta(table["wait"].astype(float), unit="h")
    numbers = {name: table[name].astype(float) for name in ("flight", "label", "delay")}
    times = {"event_time": happened.astype("datetime64[us]"), "known_at": known.astype("datetime64[us]")}
    return table[["carrier"]].assign(**numbers, **times)


def frames(max_size: int = 25) -> st.SearchStrategy[pd.DataFrame]:
    row = st.tuples(
        st.integers(0, 40),
        st.sampled_from(["AA", "UA", None]),
        st.sampled_from([1, 2, None]),
        st.sampled_from([0, 1, 1, None]),
        st.sampled_from([0.1, -3.7, 1e3, 12.5, np.inf, None]),
        st.integers(-3, 30) | st.none(),
    )
    return st.lists(row, max_size=max_size).map(frame)


def reference(queries: pd.DataFrame, past: pd.DataFrame, specs: list[HistoryConfig]) -> pd.DataFrame:
    """The definition, row by row."""
    known = np.maximum(past["known_at"], past["event_time"] + pd.Timedelta(microseconds=1)).where(
        past["known_at"].notna()
    )
    found = []
    for _, row in queries.iterrows():
        cells: list[float] = []
        for one in specs:
            for by in one.by:
                keys = [by] if isinstance(by, str) else by
                for window in one.windows:
                    inside = (known > row["event_time"] - window) & (known <= row["event_time"])
                    for key in keys:
                        inside &= (past[key] == row[key]) & past[key].notna()
                    values = past.loc[inside, one.of].dropna()
                    if one.aggregate == "mean":
                        values = values[np.isfinite(values.to_numpy())]
                    if one.aggregate == "rate":
                        values = (values == one.equals).astype(float)
                    cells += [] if one.aggregate == "count" else [values.mean() if len(values) else np.nan]
                    cells += [len(values)]
        found.append(cells)
    return pd.DataFrame(found, index=queries.index, columns=history_names(specs), dtype=np.float32)


def same(one: pd.DataFrame, other: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(one, other, rtol=1e-6, atol=1e-6)


@given(frames(), frames())
def test_equals_the_definition(queries, past):
    same(history_features(queries, past, SPECS), reference(queries, past, SPECS))


@given(frames(), frames(), st.integers(0, 40))
def test_what_becomes_known_later_changes_nothing(past, future, hours):
    """Plant labels that become known after t, or belong to rows at or after t: no feature at t or before may move."""
    now = START + hours * HOUR
    late = (future["known_at"] > now) | (future["event_time"] >= now) | future["known_at"].isna()
    planted = pd.concat([past, future[late].assign(label=1e6, delay=-1e6)], ignore_index=True)
    queries = past[past["event_time"] <= now]
    same(history_features(queries, planted, SPECS), history_features(queries, past, SPECS))


@given(frames())
def test_a_row_never_sees_itself_nor_its_contemporaries(past):
    """Even labels that claim to be known before their rows."""
    eager = past.assign(known_at=past["event_time"] - pd.Timedelta(hours=2))
    counts = history_features(eager, eager, [spec(name="n", of="delay", aggregate="count", windows=["4 days"])])
    for i, row in eager.iterrows():
        earlier = (eager["event_time"] < row["event_time"]) & (eager["carrier"] == row["carrier"])
        assert counts.loc[i].item() == eager.loc[earlier, "delay"].notna().sum()


@pytest.mark.slow
@given(frames(40), st.sampled_from([7, 13, 24]))
def test_batch_by_batch_equals_all_at_once(rows, hours):
    """Each batch with no more of the past than the longest window reaches back."""
    whole = history_features(rows, rows, SPECS)
    batches = []
    for start in range(0, 41, hours):
        begin, end = START + start * HOUR, START + (start + hours) * HOUR
        batch = rows[(rows["event_time"] >= begin) & (rows["event_time"] < end)]
        known = np.maximum(rows["known_at"], rows["event_time"] + pd.Timedelta(microseconds=1))
        needed = rows[(known > begin - needed_reach(SPECS)) & (known < end)]
        batches.append(history_features(batch, needed, SPECS))
    same(pd.concat(batches).loc[whole.index], whole)


@given(frames(), frames(), st.randoms(use_true_random=False))
def test_neither_the_other_queries_nor_any_order_matter(queries, past, random):
    whole = history_features(queries, past, SPECS)
    some = random.sample(range(len(queries)), len(queries) // 2)
    shuffled = past.iloc[random.sample(range(len(past)), len(past))]
    same(history_features(queries.iloc[some], shuffled, SPECS), whole.iloc[some])


@given(frames(), frames(), st.integers(1, 6))
def test_queries_that_are_looked_up_in_chunks_have_the_same_features(queries, past, at_once):
    whole = history_features(queries, past, SPECS)
    with patch.object(history, "_AT_ONCE", at_once):
        pd.testing.assert_frame_equal(history_features(queries, past, SPECS), whole, check_exact=True)


def test_the_windows_are_open_at_the_far_end_and_closed_at_the_near_one():
    past = frame([(0, "AA", 1, 1, 0, 10)])  # known at hour 10
    queries = frame([(h, "AA", 1, None, None, None) for h in (9, 10, 14, 15)])
    assert history_features(queries, past, [spec(windows=["5 hours"])])["late_carrier_5h_n"].tolist() == [0, 1, 1, 0]


def test_a_huge_value_leaves_no_trace_outside_its_window():
    delays = np.random.default_rng(0).normal(10, 1, 400)
    rows = [(h, "AA", 1, 0, d, 0) for h, d in enumerate(delays)]
    clean = history_features(frame(rows), frame(rows), [spec(of="delay", windows=["6 hours"])])
    spoilt = history_features(
        frame(rows), frame([(0, "UA", 1, 0, 1e15, 0), *rows]), [spec(of="delay", windows=["6 hours"])]
    )
    pd.testing.assert_frame_equal(spoilt, clean, check_exact=True)


@pytest.mark.parametrize(
    "keys", [[1, 2, 1], [1.0, 2.0, 1.0], ["1", "2", "1"], pd.Categorical(["1", "2", "1"])], ids=str
)
def test_keys_match_whatever_their_type(keys):
    """A column without missing values may come as integers one month and as floats or text the next."""
    past = frame([(h, "AA", k, 1, 0, 0) for h, k in enumerate([1, 2, 1])])
    queries = frame([(5, "AA", None, None, None, None)] * 3).assign(flight=keys)
    found = history_features(queries, past, [spec(by=["flight"])])
    assert found["late_flight_1d_n"].tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("column", "equals", "share"),
    [
        (["won", "lost", None, "won"], "won", 2 / 3),
        ([1.0, 0.0, np.nan, 1.0], None, 2 / 3),
        ([1.0, 0.0, np.nan, 1.0], True, 2 / 3),
        ([1.0, 0.0, np.nan, 1.0], "1", 2 / 3),
        (["1", "0", None, "1"], 1, 2 / 3),
        (["1", "0", None, "1"], 1.0, 2 / 3),
        ([None, None, None, None], "won", np.nan),
    ],
    ids=str,
)
def test_a_rate_is_the_share_of_a_value(column, equals, share):
    past = frame([(h, "AA", 1, None, 0, 0) for h in range(4)]).assign(label=column)
    found = history_features(
        frame([(9, "AA", 1, None, None, None)]), past, [spec(aggregate="rate", equals=equals, name="share")]
    )
    np.testing.assert_allclose(found["share_carrier_1d"], [share], rtol=1e-6)
    assert found["share_carrier_1d_n"].item() == pd.Series(column).notna().sum()


@pytest.mark.parametrize("past", [frame([]), pd.DataFrame()], ids=["no rows", "no columns"])
def test_without_a_past_there_is_nothing_known(past):
    found = history_features(frame([(9, "AA", 1, 1, 1, 1)]), past, SPECS)
    assert found.columns.tolist() == history_names(SPECS)
    assert found.filter(regex="_n$|^seen").to_numpy().tolist() == [[0] * 7]
    assert found["late_carrier_1d"].isna().all()


def test_index_types_and_names():
    queries = frame([(9, "AA", 1, 1, 1, 1), (3, "UA", 1, 1, 1, 1)]).set_axis([7, 5])
    found = history_features(queries, queries, SPECS)
    assert found.index.tolist() == [7, 5]
    assert set(found.dtypes) == {np.dtype(np.float32)}
    assert found.columns.tolist() == [
        "late_carrier_5h",
        "late_carrier_5h_n",
        "late_carrier_1d",
        "late_carrier_1d_n",
        "late_carrier_flight_5h",
        "late_carrier_flight_5h_n",
        "late_carrier_flight_1d",
        "late_carrier_flight_1d_n",
        "long_carrier_12h",
        "long_carrier_12h_n",
        "two_carrier_1d",
        "two_carrier_1d_n",
        "seen_flight_3h",
    ]


@pytest.mark.parametrize(
    ("window", "written"),
    [
        ("1 day", "1d"),
        ("36 hours", "36h"),
        ("90 minutes", "90min"),
        ("1 week", "7d"),
        ("1 second", "1s"),
        ("PT0.5S", "500000us"),
    ],
)
def test_windows_are_written_short(window, written):
    assert history_names([spec(windows=[window], aggregate="count")]) == [f"late_carrier_{written}"]


def test_the_arguments_are_not_changed():
    queries, past = frame([(9, "AA", 1, 1, 1, 1)]), frame([(3, "AA", 1, 1, 1, 1), (2, None, 1, None, 1, None)])
    before = queries.copy(), past.copy()
    history_features(queries, past, SPECS)
    pd.testing.assert_frame_equal(queries, before[0])
    pd.testing.assert_frame_equal(past, before[1])


def test_needed_reach_is_the_longest_window():
    assert needed_reach(SPECS) == timedelta(days=1)
    assert needed_reach([]) == timedelta(0)


def test_no_specs_make_no_columns():
    assert history_features(frame([(9, "AA", 1, 1, 1, 1)]), frame([]), []).shape == (1, 0)


def test_missing_columns_are_named_at_once():
    with pytest.raises(WorkError, match="lack carrier, gate, label; name columns"):
        history_features(
            frame([(9, "AA", 1, 1, 1, 1)]).drop(columns="carrier"),
            frame([(9, "AA", 1, 1, 1, 1)]).drop(columns="label"),
            [spec(by=["carrier"]), spec(name="x", by=["gate"])],
        )


def test_a_mean_of_text_is_refused():
    past = frame([(9, "AA", 1, 1, 1, 1)])
    with pytest.raises(WorkError, match="late takes the mean of 'carrier', which holds text"):
        history_features(past, past, [spec(of="carrier", by=["flight"])])
