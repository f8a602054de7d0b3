"""What the loop makes of batches that are unusual: the world may change, and only a contract breaks a batch."""

import numpy as np
import pytest

from tests.stages.story import Story, in_week, stream


def test_a_broken_batch_keeps_no_first_champion_from_being_trained(tmp_path):
    """All weeks come at once; one of them, the first or the last, breaks a contract."""
    for week in (0, 5):
        frame = stream(6 * 7)
        frame.loc[in_week(frame, week), "x"] = 99.0
        told = Story(tmp_path / str(week), frame)
        done = told.turn(6)
        assert [c.usable for c in done.batches] == [w != week for w in range(6)]
        assert done.decided.outcome == "promoted", done.decided.reasons
        told.ports.close()


@pytest.mark.parametrize(("column", "empty"), [("x", np.nan), ("group", None)])
def test_a_feature_without_any_value_does_not_break_its_batch(tmp_path, column, empty):
    frame = stream(7 * 7)
    frame.loc[in_week(frame, 6), column] = empty
    told = Story(tmp_path, frame)
    assert told.turn(6).decided.outcome == "promoted"
    done = told.turn(7)
    (checked,) = done.batches
    assert checked.usable
    assert f"{column} has no values at all" in checked.warnings
    assert done.scored[0].total == 560
    told.ports.close()
