"""What the loop makes of batches that are unusual: the world may change, and only a contract breaks a batch."""

import numpy as np
import pandas as pd
import pytest

from tests.story import PLAIN, Story, in_week, stream, window
from trueup.errors import UsageError
from trueup.loop.may_start import clear


def test_a_broken_batch_keeps_no_first_champion_from_being_trained(tmp_path):
    """All weeks come at once; one of them, the first or the last, breaks a contract."""
    for week in (0, 5):
        frame = stream(6 * 7)
        frame.loc[in_week(frame, week), "x"] = 99.0
        told = Story(tmp_path / str(week), frame)
        done = told.turn(6)
        assert [c.usable for c in done.batches] == [w != week for w in range(6)]
        assert done.decided.outcome == "promoted", done.decided.reasons
        told.home.close()


STALE = PLAIN + "  stale_after: 7 days\n"
ODD = {
    "unit": ("x", lambda rows: rows.assign(x=rows["x"] * 4)),
    "constant": ("z", lambda rows: rows.assign(z=0.5)),
    "one kind": ("group", lambda rows: rows.assign(group="c")),
}


def odd_from(frame, week, plant, until=99):
    """The stream with its rows of some weeks made unusual."""
    odd = np.logical_or.reduce([in_week(frame, w) for w in range(week, min(until, 20))])
    return pd.concat([frame[~odd], plant(frame[odd])]).sort_index()


@pytest.fixture(scope="module")
def six(tmp_path_factory):
    """Six usual weeks, and the champion that they made."""
    told = Story(tmp_path_factory.mktemp("six"), frame := stream(12 * 7), STALE)
    assert told.turn(6).decided.outcome == "promoted"
    told.home.close()
    told.frame = frame
    return told


@pytest.fixture
def going_on(six, tmp_path):
    """Makes the story go on with other rows from the seventh week on."""

    def make(plant):
        told = six.branch(tmp_path)
        told.source(plant(told.frame))
        return told

    return make


@pytest.mark.parametrize(("column", "empty"), [("x", np.nan), ("group", None)])
def test_a_feature_without_any_value_does_not_break_its_batch(going_on, column, empty):
    told = going_on(lambda rows: rows.assign(**{column: rows[column].mask(in_week(rows, 6), empty)}))
    done = told.turn(7)
    (checked,) = done.batches
    assert checked.usable
    assert f"{column} has no values at all" in checked.warnings
    assert done.scored[0].total == 560


def announced(told, topic="trueup.data.unusual"):
    return told.home.ledger.announced("toy", topic)


@pytest.mark.parametrize(
    "kind", ["unit", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in ("constant", "one kind"))]
)
def test_an_unusual_batch_is_used_and_alerts_and_holds_a_retrain_until_it_has_lasted(going_on, kind):
    column, plant = ODD[kind]
    told = going_on(lambda rows: odd_from(rows, 6, plant))
    for week in (7, 8):
        done = told.turn(week)
        (seen,) = (o for o in done.observed if o.window == window(week - 1))
        assert done.batches[-1].usable
        assert done.scored[-1].total == 560
        assert "unusual" in seen.findings, seen.reasons
        assert done.decided.outcome == "held", done.decided
        assert f"unusual batches ({window(6)}: {column}" in done.decided.reasons[0]
    (first, _) = announced(told)
    assert first.payload["batch"].startswith("2024-02-12")
    assert column in first.payload["reasons"][0]
    assert told.turn(9).decided.verdicts  # three weeks alike: the world has changed, and a challenger is judged
    assert "unusual" not in told.turn(10).observed[-1].findings
    assert len(announced(told)) == 3


def test_a_confirmed_batch_holds_nothing_and_becomes_usual(going_on):
    column, plant = ODD["unit"]
    told = going_on(lambda rows: odd_from(rows, 6, plant))
    assert told.turn(7).decided.outcome == "held"
    (entry,) = clear(told.model, "a tester")
    assert (entry.kind, entry.body.by) == ("confirmed", "a tester")
    assert entry.body.batches[0].columns == (column,)
    with pytest.raises(UsageError, match="nothing to clear"):
        clear(told.model, "a tester")
    assert told.turn(7).decided.verdicts
    assert "unusual" not in told.turn(8).observed[-1].findings


def test_what_was_unusual_once_holds_retrains_for_some_batches_only(going_on):
    _, plant = ODD["unit"]
    told = going_on(lambda rows: odd_from(rows, 6, plant, until=7))
    found = [told.turn(week) for week in (7, 8, 9)]
    assert ["unusual" in d.observed[-1].findings for d in found] == [True, False, False]
    assert [d.decided.outcome == "held" for d in found[:2]] == [True, True]
    assert found[2].decided.verdicts


def test_a_first_part_of_a_week_is_not_judged_and_teaches_no_number_of_rows(tmp_path):
    told = Story(tmp_path, stream(7 * 7).iloc[80 * 5 :])  # the first week lacks five days
    done = told.turn(7)
    assert not [o for o in done.observed if "unusual" in o.findings]
    assert done.observed[-1].figures.usual["rows"][0] > 300


def test_a_real_shift_of_a_feature_is_used_and_breaks_nothing(going_on):
    told = going_on(lambda rows: rows.assign(x=rows["x"] + np.where(rows.index >= 80 * 42, 2.0, 0.0)))
    done = [told.turn(week) for week in range(6, 10)]
    assert all(d.batches[-1].usable for d in done)
    assert "shifted" in done[1].observed[-1].findings
    assert not any("unusual" in d.observed[-1].findings for d in done)
    assert all(d.decided.verdicts for d in done[1:]), [d.decided for d in done]


def test_a_feature_that_stays_without_values_is_left_out_of_the_next_model(going_on):
    told = going_on(lambda rows: rows.assign(z=rows["z"].where(rows.index < 80 * 42)))
    assert "z" in reads(told)
    done = [told.turn(week) for week in range(7, 13)]
    assert all(d.batches[-1].usable for d in done)
    later = [e for e in told.home.ledger.entries("toy") if e.body.model][-1]
    assert later.body.model.gone == ("z",)
    assert any("z has had no value" in why for why in later.body.reasons), later.body.reasons


def reads(told):
    """The columns that the champion's pipeline takes."""
    prepare = told.model.champion().load(told.home).named_steps["prepare"]
    return [c for _, _, columns in prepare.transformers_ for c in columns]
