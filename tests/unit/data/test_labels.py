"""Outcomes that lie apart from the rows: which of them is a row's, whatever the keys' types and the order."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.ingest import IngestConfig
from trueup.config.tasks import Task
from trueup.domain.data.labels import changes, label_columns, oddities, table
from trueup.domain.data.landing import split
from trueup.errors import SourceError

START = datetime(2024, 1, 1)
FAR = datetime(2030, 1, 1)


def ingest(named: list[str] | None = None, **label: Any) -> IngestConfig:
    given = {"column": "y", "known_at": "told", "source": {"kind": "files", "path": "y.csv"}} | label
    given = {name: value for name, value in given.items() if value is not None}
    source = {"kind": "files", "path": "x.csv"}
    return IngestConfig.model_validate({"source": source, "time": "t", "key": named or ["id"], "label": given})


def after(days: float) -> datetime:
    return START + timedelta(days=days)


def told(**columns: Any) -> pd.DataFrame:
    return pd.DataFrame(columns)


def landed(ids: list[Any], days: list[float], config: IngestConfig) -> pd.DataFrame:
    raw = pd.DataFrame({"id": ids, "t": [after(d) for d in days], "x": 1.0})
    return split(raw, config, Task.BINARY, ["id", "t", "x"], ["x"]).rows


def joined(
    rows: pd.DataFrame, raw: pd.DataFrame, config: IngestConfig, moment: datetime = FAR, task: Task = Task.BINARY
) -> tuple[dict[Any, Any], pd.DataFrame, dict[str, Any]]:
    labels, facts = table(raw, config, task).at(moment).of(rows, config.key)
    names = dict(zip(rows["row_id"], rows["id"].astype(int), strict=True))
    return {names[i]: y for i, y in zip(labels["row_id"], labels["label"], strict=True)}, labels, facts


def test_rows_are_landed_without_a_label_column_and_none_of_their_own_counts():
    config = ingest()
    raw = pd.DataFrame({"id": [1], "t": [START], "x": [1.0]})
    found = split(raw, config, Task.BINARY, ["id", "t", "x"], ["x"])
    assert (len(found.rows), len(found.labels)) == (1, 0)
    assert found.labels.columns.tolist() == ["row_id", "event_time", "label", "known_at"]
    assert split(raw.assign(y=1), config, Task.BINARY, ["id", "t", "x"], ["x"]).labels.empty


@pytest.mark.parametrize("there", [[7, 8], ["7", "8"], [7.0, 8.0], pd.Categorical(["7", "8"])])
@pytest.mark.parametrize("here", [[7, 9], ["7", "9"], [7.0, 9.0]])
def test_keys_compare_as_landing_compares_them(here, there):
    config = ingest()
    found, _, facts = joined(landed(here, [0, 1], config), told(id=there, y=[1, 0], told=after(9)), config)
    assert list(found.values()) == [1.0]
    assert facts["no_outcome"] == 1


def test_a_key_is_called_otherwise_there_and_a_time_in_it_compares_as_time():
    config = ingest(["id", "t"], key={"t": "at"})
    assert label_columns(config) == ["id", "at", "y", "told"]
    raw = told(id=["1", "1"], at=["2024-01-01", "2024-01-02T00:00:00Z"], y=[0, 1], told=after(9))
    rows = landed([1, 1], [0, 1], config)
    labels, _ = table(raw, config, Task.BINARY).at(FAR).of(rows, config.key)
    assert labels["label"].tolist() == [0.0, 1.0]


def test_the_last_outcome_known_at_the_moment_counts_and_a_later_one_hides_nothing():
    config, rows = ingest(), landed([1], [0], ingest())
    raw = told(id=[1, 1], y=[1, 0], told=[after(20), after(10)])
    for moment, value, known in ((5, 0.0, 10), (10, 0.0, 10), (19, 0.0, 10), (20, 1.0, 20)):
        found, labels, _ = joined(rows, raw, config, after(moment))
        assert found == {1: value}
        assert labels["known_at"].tolist() == [after(known)]


def test_of_outcomes_of_the_same_moment_and_of_those_without_one_the_last_line_counts():
    rows = landed([1], [0], ingest())
    assert joined(rows, told(id=[1, 1], y=[1, 0], told=after(3)), ingest(), after(1))[0] == {1: 0.0}
    assert joined(rows, told(id=[1, 1], y=[1, 0], told=after(3)), ingest())[0] == {1: 0.0}
    delayed = ingest(known_at=None, known_after="3 days")
    found, labels, facts = joined(rows, told(id=[1, 1], y=[1, 0]), delayed, START)
    assert found == {1: 0.0}
    assert labels["known_at"].tolist() == [after(3)]
    assert facts["several_outcomes"] == 1


def test_an_outcome_of_before_the_row_is_not_the_rows():
    config = ingest()
    found, _, facts = joined(landed([1, 1], [0, 5], ingest(["id", "t"])), told(id=[1], y=[1], told=after(3)), config)
    assert found == {1: 1.0}
    assert (facts["labels"], facts["known_before_row"]) == (1, 1)
    assert "1 rows have only outcomes that were known before" in oddities(facts)[0]


def test_an_outcome_emptied_is_withdrawn_and_one_that_says_not_when_never_counts():
    config, rows = ingest(), landed([1, 2], [0, 0], ingest())
    raw = told(id=[1, 1, 2], y=[1, None, 1], told=[after(2), after(4), pd.NaT])
    assert joined(rows, raw, config, after(3))[0] == {1: 1.0, 2: 1.0}
    found, labels, facts = joined(rows, raw, config, after(4))
    assert found == {2: 1.0}
    assert labels["known_at"].isna().all()
    assert facts["known_at_missing"] == 1


def test_classes_and_outcomes_above_a_bound_are_made_as_beside_rows():
    rows = landed([1, 2], [0, 0], ingest())
    raw = told(id=[1, 2], y=["a", "b"], told=after(1))
    assert joined(rows, raw, ingest(), task=Task.MULTICLASS)[0] == {1: "a", 2: "b"}
    assert joined(rows, raw, ingest(positive="a"))[0] == {1: 1.0, 2: 0.0}
    assert joined(rows, raw.assign(y=[3, 30]), ingest(above=10))[0] == {1: 0.0, 2: 1.0}
    with pytest.raises(SourceError, match=r"^ingest\.label\.column: 'y' holds 2 values besides 0 and 1"):
        joined(rows, raw, ingest())
    with pytest.raises(SourceError, match=r"^ingest\.label\.known_at"):
        joined(rows, raw.assign(told="soon"), ingest(positive="a"))


def test_an_outcome_that_means_none_is_none_and_counted():
    config = ingest().model_copy(update={"missing": {"y": ["?"]}})
    rows = landed([1, 2], [0, 0], config)
    raw = told(id=["1", "2"], y=["1", "?"], told=after(1))
    assert joined(rows, raw, config)[0] == {1: 1.0}
    assert table(raw, config, Task.BINARY).facts["sentinel_outcomes"] == 1


def test_moments_are_read_in_the_format_that_the_config_names():
    config = ingest().model_copy(update={"time_format": "%d/%m/%Y"})
    rows = landed([1], [0], ingest())
    found, labels, _ = joined(rows, told(id=[1], y=[1], told=["05/03/2030"]), config, datetime(2031, 1, 1))
    assert found == {1: 1.0}
    assert labels["known_at"].tolist() == [datetime(2030, 3, 5)]


def test_an_empty_table_and_empty_rows_join_to_nothing():
    config = ingest()
    empty = told(id=pd.Series(dtype=object), y=pd.Series(dtype=object), told=pd.Series(dtype=object))
    assert joined(landed([1], [0], config), empty, config)[0] == {}
    rows = landed([1], [0], config).head(0)
    assert joined(rows, told(id=[1], y=[1], told=after(1)), config)[0] == {}


def test_what_became_of_landed_labels_is_counted():
    before = told(row_id=[1, 2, 3], label=[0.0, 1.0, 1.0], known_at=after(1))
    later = told(row_id=[1, 2, 4], label=[0.0, 0.0, 1.0], known_at=after(1))
    assert changes(before, before.copy()) is None
    assert changes(before, later) == {"labels_new": 1, "labels_changed": 1, "labels_withdrawn": 1}
    assert changes(before.assign(label=pd.Categorical(["a", "b", "a"])), before.assign(label=["a", "b", "a"])) is None
    moved = before.assign(known_at=after(2))
    assert changes(before, moved) == {"labels_new": 0, "labels_changed": 0, "labels_withdrawn": 0}


def naive(rows: list[tuple[int, int]], outcomes: list[tuple[int, Any, Any]], moment: int) -> list[Any]:
    """Row by row, as the documentation says it."""
    said = []
    for key, time in rows:
        own = [(known, i, y) for i, (k, y, known) in enumerate(outcomes) if k == key]
        past = [o for o in own if o[0] is not None and o[0] <= moment]
        now = max(past, default=None)
        if now is not None and now[2] is not None and now[0] >= time:
            said.append((now[2], now[0]))
            continue
        ahead = [o for o in own if o[0] is not None and o[0] > moment]
        first = min(ahead, key=lambda o: (o[0], -o[1]), default=None) or max(
            (o for o in own if o[0] is None), key=lambda o: o[1], default=None
        )
        fits = first is not None and first[2] is not None and (first[0] is None or first[0] >= time)
        said.append((first[2], first[0]) if fits else None)
    return said


keys, days = st.integers(0, 4), st.integers(0, 9)


@given(
    st.lists(st.tuples(keys, days), min_size=1, max_size=12, unique=True),
    st.lists(st.tuples(keys, st.sampled_from([0, 1, None]), st.one_of(st.none(), days)), max_size=15),
    days,
)
def test_the_join_is_what_a_search_row_by_row_finds(rows, outcomes, moment):
    config = ingest(["id", "t"])
    landed_rows = landed([k for k, _ in rows], [d for _, d in rows], config)
    raw = told(
        id=[str(k) for k, _, _ in outcomes],
        y=pd.Series([y for _, y, _ in outcomes], dtype=np.float64),
        told=pd.to_datetime(
            pd.Series([None if d is None else after(d) for _, _, d in outcomes], dtype="datetime64[us]")
        ),
    )
    labels, facts = table(raw, ingest(), Task.BINARY).at(after(moment)).of(landed_rows, ["id"])
    found = {
        i: (y, None if pd.isna(at) else (at - START).days)
        for i, y, at in zip(labels["row_id"], labels["label"], labels["known_at"], strict=True)
    }
    order = [(int(k), (t - START).days) for k, t in zip(landed_rows["id"], landed_rows["event_time"], strict=True)]
    assert [found.get(i) for i in landed_rows["row_id"]] == naive(order, outcomes, moment)
    assert facts["labels"] + facts["no_outcome"] == len(rows)
    # What is known later than the moment changes no label that counts at it.
    past = table(raw[raw["told"] <= after(moment)], ingest(), Task.BINARY).at(FAR).of(landed_rows, ["id"])[0]
    counts = labels[labels["known_at"] <= pd.Timestamp(after(moment))]
    assert counts.to_dict("list") == past.to_dict("list")
