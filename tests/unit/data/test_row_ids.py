"""Names of rows: found in a table, or made of what the rows hold."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.load import parse_model
from trueup.config.sections.ingest import IngestConfig
from trueup.config.tasks import Task
from trueup.domain.data.landing import split
from trueup.domain.profiling.columns import profile
from trueup.domain.profiling.keys import key_of
from trueup.domain.profiling.questions import Ask
from trueup.errors import ConfigError

N = 600
RNG = np.random.default_rng(4)
ASK = Ask("shop", "shop.csv", "t", "y")


def found(frame: pd.DataFrame) -> tuple[str, ...]:
    """The key of a table whose time is `t`."""
    return key_of(ASK, frame, profile(frame.drop(columns="t"))).columns


def daily(**columns: object) -> pd.DataFrame:
    """Some five rows a day."""
    return pd.DataFrame({"t": pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(N) // 5, "D"), **columns})


def test_what_was_measured_is_no_key_though_each_row_has_its_own():
    frame = daily(price=RNG.permutation(N) * 10 + 7, degrees=RNG.normal(size=N))
    assert not frame.duplicated(["t", "price"]).any()
    assert found(frame) == ()


def test_codes_and_words_are():
    assert found(daily(item=np.arange(N) % 5)) == ("t", "item")
    assert found(daily(shop=np.array([*"abcde"])[np.arange(N) % 5])) == ("t", "shop")


def test_an_id_that_a_few_rows_repeat_names_rows_and_one_that_many_repeat_does_not():
    ids = np.array([f"o{i:05d}" for i in RNG.permutation(N)])
    few, many = ids.copy(), ids[np.arange(N) // 3]
    few[:200:10] = few[1:200:10]  # of the same day
    assert found(daily(order=few)) == ("order",)
    assert found(daily(order=many)) == ()


def config(**more: object) -> IngestConfig:
    """A source whose rows no column names."""
    label = {"column": "y", "known_after": "1 day"}
    source = {"kind": "files", "path": "shop.csv"}
    return IngestConfig.model_validate({"source": source, "time": "t", "key": [], "label": label, **more})


def landed(frame: pd.DataFrame, **more: object) -> pd.DataFrame:
    """The rows as they land."""
    return split(frame, config(**more), Task.REGRESSION, ["t", "a", "b"], ["a"]).rows


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 1.5, None]), st.sampled_from(["x", "y", None])),
    min_size=1,
    max_size=12,
)


def frame_of(rows: list[tuple[int, float | None, str | None]]) -> pd.DataFrame:
    """A source's rows, with an outcome that is different each time."""
    day = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {
            "t": [day + pd.Timedelta(days=d) for d, _, _ in rows],
            "a": pd.Series([a for _, a, _ in rows], dtype=float),
            "b": pd.Series([b for _, _, b in rows], dtype=object),
            "y": np.arange(len(rows), dtype=float),
        }
    )


@given(ROWS, ROWS, st.randoms(use_true_random=False))
def test_rows_without_a_key_are_all_kept_and_keep_their_names_when_others_come_late(rows, late, random):
    before = landed(frame_of(rows))
    assert len(before) == len(rows)
    mixed = rows + late
    random.shuffle(mixed)
    after = landed(frame_of(mixed)[["y", "b", "t", "a"]])
    assert len(after) == len(mixed)
    assert after["row_id"].is_unique
    both = before.merge(after, on="row_id")
    assert len(both) == len(before)
    assert both["a_x"].equals(both["a_y"])
    assert both["b_x"].fillna("").equals(both["b_y"].fillna(""))


def test_the_outcome_is_no_part_of_a_rows_name():
    frame = frame_of([(0, 0.0, "x"), (0, 1.5, "y")])
    known = frame.assign(y=[7.0, 8.0], told=frame["t"])
    label = {"column": "y", "known_at": "told"}
    assert landed(frame)["row_id"].equals(landed(known, label=label)["row_id"])


def test_rows_without_a_time_are_counted_as_that():
    frame = frame_of([(0, 0.0, "x"), (0, 1.5, "y")])
    frame.loc[1, "t"] = pd.NaT
    facts = split(frame, config(), Task.REGRESSION, ["t", "a", "b"], ["a"]).facts
    assert (facts["null_keys"], facts["null_times"], facts["rows"]) == (0, 1, 1)


def test_outcomes_of_a_second_source_need_a_key():
    text = """
    model: shop
    task: regression
    ingest:
      source: {kind: files, path: shop.csv}
      time: t
      key: []
      label: {column: y, known_after: 1 day, source: {kind: files, path: more.csv}}
    validate:
      expectations: [{type: expect_table_row_count_to_be_between, kwargs: {min_value: 1}}]
    features: {numeric: [a]}
    """
    with pytest.raises(ConfigError, match=r"ingest.key: outcomes of a second source are joined by key"):
        parse_model(text, "shop.yaml")
