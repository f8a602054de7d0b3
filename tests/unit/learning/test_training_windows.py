"""Which rows train a challenger, and which judge it."""

from datetime import datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.promotion import PromoteConfig
from trueup.config.sections.training import TrainConfig
from trueup.domain.judging.bootstrap import MIN_BLOCKS, Blocks
from trueup.domain.learning.training_windows import Hold, Plan, plan_training
from trueup.domain.types import Window

START = datetime(2024, 1, 1)
DAY = timedelta(days=1)
TRAIN, PROMOTE = TrainConfig(), PromoteConfig()  # 28 days of history, a gate of 14 days, 20 new days


def planned(days, trained=None, train=TRAIN, promote=PROMOTE, block=DAY):
    until = None if trained is None else START + trained * DAY
    return plan_training(Window(START, START + days * DAY), until, train, promote, block)


def test_the_first_training_waits_for_history():
    assert isinstance(planned(27.9), Hold)
    assert "not enough history: 27.9 days of matured labels, 28.0 days needed" in planned(27.9).reason
    assert planned(28) == Plan(Window(START, START + 14 * DAY), Window(START + 14 * DAY, START + 28 * DAY))


def test_a_challenger_waits_for_labels_that_the_champion_has_not_seen():
    assert "not enough new labels: 19.9 days" in planned(79.9, trained=60).reason
    assert isinstance(planned(80, trained=60), Plan)


def test_nothing_is_trained_for_a_gate_window_of_too_few_blocks():
    """Half of two weeks are seven days, of which no gate could tell anything."""
    fortnight = PromoteConfig(min_new_days=14)
    held = planned(74, trained=60, promote=fortnight)
    assert held == Hold(
        "not enough new labels: the gate window would hold 7 of evaluate.block (1 day), for it is half of the 14.0 days "
        "that are new; 10 are needed"
    )
    assert isinstance(planned(79, trained=60, promote=fortnight), Plan)  # nine and a half days touch ten
    short = planned(120, trained=60, promote=PromoteConfig(gate_window="7 days", folds=1))
    assert "make promote.gate_window longer or evaluate.block shorter" in short.reason
    assert "not enough history" in planned(28, promote=PromoteConfig(gate_window="7 days")).reason


def test_a_champion_trained_on_everything_leaves_nothing_new():
    assert "0.0 days since" in planned(60, trained=60).reason
    assert "0.0 days since" in planned(60, trained=61).reason


def test_the_gate_is_at_most_half_of_what_is_new():
    assert planned(80, trained=60).gate.start == START + 70 * DAY
    assert planned(120, trained=60).gate.start == START + 106 * DAY


def test_the_recipe_is_judged_at_earlier_cut_offs_too_once_there_is_something_new_to_learn():
    assert planned(120).folds == ()  # a first champion has the gate window alone
    assert planned(80, trained=60).folds == ()
    assert planned(100, trained=60).folds == ()
    chosen = planned(160, trained=60)  # a hundred days are seven windows; the first teaches, and four judge
    assert chosen.gate == Window(START + 146 * DAY, START + 160 * DAY)
    assert [fold.judged.start for fold in chosen.folds] == [START + d * DAY for d in (104, 118, 132)]
    assert chosen.search == Window(START, START + 104 * DAY)
    assert chosen.judged == Window(START + 104 * DAY, START + 160 * DAY)
    slow = plan_training(Window(START, START + 160 * DAY), START + 60 * DAY, TRAIN, PROMOTE, DAY, delay=60 * DAY)
    assert slow.folds == ()  # labels that take two months taught no earlier cut-off anything new


def test_a_trailing_window_ends_where_the_gate_begins():
    train = TrainConfig(window="28 days")
    assert planned(120, trained=60, train=train).train == Window(START + 78 * DAY, START + 106 * DAY)
    assert planned(40, train=TrainConfig(window="90 days")).train.start == START


@given(
    st.floats(0.01, 1000),
    st.none() | st.floats(0, 1000),
    st.sampled_from(["expanding", "7 days", "90 days"]),
    st.integers(1, 60),
)
def test_no_row_is_both_learnt_from_and_judged_on(days, trained, window, gate_days):
    matured = Window(START, START + days * DAY)
    chosen = planned(days, trained, TrainConfig(window=window), PromoteConfig(gate_window=gate_days * DAY))
    if isinstance(chosen, Hold):
        return
    moments = np.arange(
        np.datetime64(chosen.judged.start, "h"), np.datetime64(chosen.gate.end, "h"), dtype="datetime64[h]"
    )
    last = chosen.gate.end - timedelta(microseconds=1)  # whole hours may miss the part of a day that it ends with
    assert Blocks.of([chosen.judged.start, *moments.astype("datetime64[us]").tolist(), last], DAY).count >= MIN_BLOCKS
    assert chosen.train.end == chosen.gate.start
    assert matured.start <= chosen.train.start < chosen.train.end < chosen.gate.end == matured.end
    assert chosen.refit == Window(chosen.train.start, matured.end)
    if trained is not None:
        unseen = START + trained * DAY
        assert chosen.gate.start > unseen  # the champion is judged on rows that it has not seen either
        assert chosen.train.end > unseen  # and the challenger learns something new
        assert all(fold.judged.start > unseen for fold in chosen.folds)
    ends = [chosen.search.end, *(fold.judged.end for fold in chosen.folds)]
    assert ends[-1] == chosen.gate.start
    assert [fold.judged.start for fold in chosen.folds] == ends[:-1]  # each row judges once
    assert all(fold.train.end == fold.judged.start for fold in chosen.folds)


def test_who_asks_for_no_proof_needs_no_gate_window_that_could_give_it():
    bare = PromoteConfig(min_new_days=7, gates=[])
    assert isinstance(planned(67, trained=60, promote=PromoteConfig(min_new_days=7)), Hold)
    assert planned(67, trained=60, promote=bare).refit.end == START + 67 * DAY
    assert isinstance(planned(8, train=TrainConfig(min_history=DAY), promote=bare), Hold)  # the first is judged
