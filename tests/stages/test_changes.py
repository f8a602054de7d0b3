"""What changes under a running loop: keys that come again, late data, another config, another feature function."""

import pandas as pd

from tests import streams
from tests.stages.story import CONFIG, Story, in_week, stream, window
from trueup.domain.types import EVENT_TIME, ROW_ID
from trueup.stages import loop, steps
from trueup.stages.features import examples


def moved(frame: pd.DataFrame, key: int, **changes: object) -> pd.DataFrame:
    """The stream with something else in the row of a key."""
    return frame.assign(**{name: frame[name].where(frame["id"] != key, value) for name, value in changes.items()})


def test_a_key_may_come_again_in_every_batch(tmp_path):
    """A snapshot of customers, say: the same 560 keys each week."""
    rows = stream(7 * 7)
    told = Story(tmp_path, rows.assign(id=rows["id"] % 560), CONFIG)
    first, after = told.turn(5), told.turn(7)
    assert first.decided.outcome == "promoted", first.decided.reasons
    assert [s.new for s in after.scored] == [560, 560]
    assert all(o.figures["matured"] >= 480 for o in after.observed)
    known = examples(told.config, told.ports, window(6), streams.week(8))
    assert len(known.y) == 560
    assert known.X["rate_group_7d_n"].max() <= 560  # no row counts twice
    assert loop.retrain(steps, told.config, told.ports, streams.week(7), "manual").outcome in {"promoted", "rejected"}
    told.ports.close()


def test_a_row_whose_time_is_corrected_keeps_the_prediction_it_was_given(tmp_path):
    rows = stream(7 * 7)
    told = Story(tmp_path, rows)
    told.turn(5)
    told.turn(6)
    served = told.predictions(5)
    key = int(rows.loc[in_week(rows, 5), "id"].iloc[300])
    corrected = moved(rows, key, t=rows.loc[key, "t"] + pd.Timedelta(hours=3), y=1 - rows.loc[key, "y"])
    told.source(corrected)
    done = told.turn(7)
    revised = next(s for s in done.scored if s.window == window(5))
    assert (revised.new, revised.total) == (0, 560)
    assert told.predictions(5).equals(served)
    seen = next(o for o in done.observed if o.window == window(5))
    assert seen.figures["matured"] == 560
    told.ports.close()


def test_a_row_that_is_moved_into_another_batch_is_another_row_there(tmp_path):
    rows = stream(7 * 7)
    told = Story(tmp_path, rows)
    told.turn(5)
    told.turn(6)
    key = int(rows.loc[in_week(rows, 5), "id"].iloc[300])
    told.source(moved(rows, key, t=rows.loc[key, "t"] + pd.Timedelta(weeks=1)))
    done = told.turn(7)
    assert {s.window: s.total for s in done.scored} == {window(5): 559, window(6): 561}
    served = told.predictions(6)
    assert served[ROW_ID].is_unique
    assert served[EVENT_TIME].between(streams.week(6), streams.week(7)).all()
    assert len(served) == 561
    told.ports.close()
