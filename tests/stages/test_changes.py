"""What changes under a running loop: keys that come again, late data, another config, another feature function."""

import os
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.story import CONFIG, PLAIN, Story, in_week, stream, window
from trueup.domain.types import EVENT_TIME, ROW_ID
from trueup.errors import ConfigError
from trueup.loop import steps, turn
from trueup.stages.features import examples, features


def moved(frame: pd.DataFrame, key: int, **changes: object) -> pd.DataFrame:
    """The stream with something else in the row of a key."""
    return frame.assign(**{name: frame[name].where(frame["id"] != key, value) for name, value in changes.items()})


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Six weeks of a stream of eight: a first champion after five."""
    told = Story(tmp_path_factory.mktemp("grown"), stream(7 * 8))
    told.turn(5)
    told.sixth = told.turn(6)
    told.home.close()
    return told


def test_a_key_may_come_again_in_every_batch(tmp_path):
    """A snapshot of customers, say: the same 560 keys each week."""
    rows = stream(7 * 7)
    told = Story(tmp_path, rows.assign(id=rows["id"] % 560), CONFIG)
    first, after = told.turn(5), told.turn(7)
    assert first.decided.outcome == "promoted", first.decided.reasons
    assert [s.new for s in after.scored] == [560, 560]
    assert all(o.figures.matured >= 480 for o in after.observed)
    known = examples(told.model, window(6), streams.week(8))
    assert len(known.y) == 560
    assert known.X["rate_group_7d_n"].max() <= 560  # no row counts twice
    assert turn.retrain(steps, told.model, streams.week(7), "manual").outcome in {
        "promoted",
        "rejected",
        "held",
    }


def test_a_row_whose_time_is_corrected_keeps_the_prediction_it_was_given(grown, tmp_path):
    told, rows = grown.branch(tmp_path), grown.frame
    served = told.predictions(5)
    key = int(rows.loc[in_week(rows, 5), "id"].iloc[300])
    corrected = moved(rows, key, t=rows.loc[key, "t"] + pd.Timedelta(hours=3), y=1 - rows.loc[key, "y"])
    told.source(corrected)
    done = told.turn(7)
    revised = next(s for s in done.scored if s.window == window(5))
    assert (revised.new, revised.total) == (0, 560)
    assert told.predictions(5).equals(served)
    seen = next(o for o in done.observed if o.window == window(5))
    assert seen.figures.matured == 560


def test_a_row_that_is_moved_into_another_batch_is_another_row_there(grown, tmp_path):
    told, rows = grown.branch(tmp_path), grown.frame
    key = int(rows.loc[in_week(rows, 5), "id"].iloc[300])
    told.source(moved(rows, key, t=rows.loc[key, "t"] + pd.Timedelta(weeks=1)))
    done = told.turn(7)
    assert {s.window: s.total for s in done.scored} == {window(5): 559, window(6): 561}
    served = told.predictions(6)
    assert served[ROW_ID].is_unique
    assert served[EVENT_TIME].between(streams.week(6), streams.week(7)).all()
    assert len(served) == 561


def config_with(told: Story, old: str, new: str) -> None:
    """Change the config as a person would."""
    path = told.configs / "toy.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_feature_added_to_the_config_is_landed_and_used_by_the_next_challenger(tmp_path):
    rows = stream(7 * 8)
    told = Story(tmp_path, rows.assign(w=rows["x"] * rows["z"]))
    told.turn(5)
    config_with(told, "numeric: [x, z]", "numeric: [x, z, w]")
    done = told.turn(7)
    assert [s.new for s in done.scored if s.window in {window(5), window(6)}] == [560, 560]
    assert told.model.champion().features.numeric == ["x", "z"]
    made = turn.retrain(steps, told.model, streams.week(7), "manual")
    assert made.outcome in {"promoted", "rejected", "held"}, made.reasons
    assert "w" in examples(told.model, window(0), streams.week(7)).X


@pytest.mark.parametrize("still_there", [True, False])
def test_a_feature_removed_from_the_config_still_serves_the_champion_that_was_trained_on_it(
    grown, tmp_path, still_there
):
    told, before = grown.branch(tmp_path), grown.sixth
    config_with(told, "numeric: [x, z]", "numeric: [x]")
    if not still_there:
        told.source(told.frame.drop(columns="z"))
    done = told.turn(7)
    [scored] = [s for s in done.scored if s.window == window(6)]
    if still_there:
        assert scored.new == 560
        assert {o.diagnosis for o in (*before.observed, *done.observed)} <= {"healthy", "shifted"}
    else:
        assert scored.new == 0
        assert "needs z" in scored.note
    made = turn.retrain(steps, told.model, streams.week(7), "manual")
    # Without z it cannot be as good as a champion that is there to be compared with.
    assert made.outcome == "rejected" if still_there else made.outcome in {"promoted", "rejected", "held"}, made.reasons
    if not still_there:
        version = before.scored[-1].version
        assert made.reasons[-1] == f"the champion, version {version}, cannot predict the gate rows: they lack z"
        assert "no champion yet" not in {r for v in made.verdicts for r in v.reasons}


def test_data_that_come_after_their_period_was_landed_empty_are_taken_in(tmp_path):
    rows = stream(7 * 10)
    hole = in_week(rows, 6)
    told = Story(tmp_path, rows[~hole & (rows["t"] < streams.week(7))], PLAIN + "clock: wall\n")
    told.turn(6)
    told.turn(7)
    for week in (8, 9):
        told.source(rows[~hole & (rows["t"] < streams.week(week))])
        told.turn(week)
    told.source(rows)
    told.turn(10)
    assert told.batch(6).rows.rows == 560
    assert len(told.predictions(6)) == 560


def test_a_moment_ahead_of_the_data_lands_nothing_by_the_datas_clock(tmp_path):
    rows = stream(7 * 9)
    told = Story(tmp_path, rows[rows["t"] < streams.week(5)])
    told.turn(5)
    told.turn(9)
    assert len(told.home.store.batches("toy/rows")) == 5
    told.source(rows)
    done = told.turn(9)
    assert [s.new for s in done.scored] == [560] * 4


@pytest.mark.parametrize("far", ["9999-12-31", "0001-01-01"])
def test_one_row_of_a_year_beyond_nanoseconds_is_set_aside(tmp_path, far):
    rows = stream(7 * 7).astype({"t": str})
    told = Story(tmp_path, pd.concat([rows, rows.tail(1).assign(t=far, id=-1)]))
    landed = steps.ingest(told.model, streams.week(7))
    assert [b.window for b in landed] == [window(week) for week in range(7)]


def test_a_moment_in_the_future_lands_nothing_that_has_not_ended_by_the_wall_clock(tmp_path):
    told = Story(tmp_path, stream(7 * 7), PLAIN + "clock: wall\n")
    told.home.now = lambda: (streams.week(6) + timedelta(days=3)).replace(tzinfo=UTC)
    landed = steps.ingest(told.model, streams.week(20))
    assert [b.window for b in landed] == [window(week) for week in range(6)]


def test_a_mended_expectation_applies_to_what_was_judged_before(tmp_path):
    told = Story(tmp_path, stream(7 * 7), PLAIN.replace("min_value: -20, max_value: 20", "min_value: -1, max_value: 1"))
    assert told.turn(5).broken
    path = told.configs / "toy.yaml"
    narrow = path.read_text()
    path.write_text(PLAIN)
    done = told.turn(5)
    assert not done.broken
    assert done.decided.outcome == "promoted", done.decided.reasons
    assert told.turn(5) == done
    path.write_text(narrow)  # and back again
    again = told.turn(5)
    assert again.broken
    assert len(told.home.store.quarantined_ids(told.batch(4).rows)) > 100
    path.write_text(PLAIN)
    assert not told.turn(6).broken
    assert len(told.home.store.quarantined_ids(told.batch(4).rows)) == 0


def test_history_is_counted_from_the_first_row(tmp_path):
    rows = stream(31 + 29 + 10)
    told = Story(
        tmp_path,
        rows[rows["t"] >= "2024-01-28"],
        PLAIN.replace("period: week", "period: month").replace("min_history: 28 days", "min_history: 30 days"),
    )
    assert "3.0 days" in turn.cycle(steps, told.model, datetime(2024, 2, 1)).decided.reasons[0]


def test_another_text_of_a_feature_function_makes_other_features(tmp_path):
    told = Story(tmp_path, stream(7 * 6), PLAIN.replace("features:\n", "features:\n  custom: extra:more\n"))
    code = "def more(rows):\n    return rows[['x']].mul({}).rename(columns={{'x': 'times'}})\n"
    file = told.configs / "extra.py"
    file.write_text(code.format(2))
    told.turn(5)
    one = features(told.model, told.batch(4), streams.week(5))
    assert one == features(told.model, told.batch(4), streams.week(5))
    file.write_text(code.format(3))
    os.utime(file, (1e9, 1e9))
    other = features(told.model, told.batch(4), streams.week(5))
    assert other != one
    ratio = told.home.store.read_features([other])["times"] / told.home.store.read_features([one])["times"]
    assert np.allclose(ratio, 1.5)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("expect_column_values_to_be_in_set", "expect_colum_values_to_be_in_set", "expect_colum"),
        ("numeric: [x, z]", "numeric: [x, z, x]", "named twice"),
    ],
)
def test_a_mistake_in_the_config_is_found_before_anything_is_landed(tmp_path, right, wrong, said):
    told = Story(tmp_path, stream(7 * 6), PLAIN.replace(right, wrong))
    with pytest.raises(ConfigError, match=said):
        told.turn(5)
    assert not list((tmp_path / "home").rglob("*.parquet"))
