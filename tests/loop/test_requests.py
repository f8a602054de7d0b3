"""A retrain that a diagnosis asks for is asked for until something was decided, and no longer."""

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream, window
from trueup.loop import steps, turn
from trueup.loop.may_start import clear

AGED = PLAIN.replace("min_matured: 100", "min_matured: 100\n  stale_after: 10 days")
NOW = streams.week(7)


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A first champion after five weeks, old after seven."""
    told = Story(tmp_path_factory.mktemp("five"), stream(9 * 7), AGED)
    told.turn(5)
    told.home.close()
    return told


@pytest.fixture
def told(five, tmp_path):
    return five.branch(tmp_path)


def later(told, hours):
    """Go on when so many hours have passed by the wall clock."""
    told.home.close()
    told.open()
    told.later(hours=hours)


def asked(told, topic="trueup.model.stale"):
    return [m.payload["batch"] for m in told.home.ledger.announced("toy", topic)]


def monitored(told, as_of=NOW):
    return turn.monitor_newest(steps, told.model, as_of)


def test_a_request_to_which_nothing_came_is_made_again_until_something_was_decided(told):
    turn.cycle(steps, told.model, NOW, retrain="event")
    assert monitored(told).diagnosis == "stale"
    about = "/".join(streams.week(w).isoformat() for w in (6, 7))
    assert asked(told) == [about]  # an answer may still come
    for times in (2, 3):
        later(told, 2 * times)
        monitored(told)
        monitored(told)
        assert asked(told) == [about] * times
    assert turn.retrain(steps, told.model, NOW, "stale").outcome in {"promoted", "rejected"}
    later(told, 24)
    monitored(told)
    assert asked(told) == [about] * 3


def test_what_was_refused_because_another_retrain_was_at_work_is_tried_by_the_next_run(told):
    with told.home.retraining("toy"):
        assert told.turn(7).decided.outcome == "refused"
    assert told.turn(7).decided.outcome in {"promoted", "rejected"}
    decided = told.home.ledger.entries("toy")[-1]
    told.turn(7)
    assert told.home.ledger.entries("toy")[-1] == decided


def test_once_rejections_are_cleared_the_newest_batch_asks_at_once(told):
    (told.configs / "toy.yaml").write_text(
        AGED.replace(
            "min_new_days: 6\n", "min_new_days: 6\n  gates: [{kind: absolute, metric: log_loss, at_most: 0.0001}]\n"
        )
        + "retrain: {cooldown: 0 days, max_rejections: 1}\n"
    )
    told.open()
    assert [told.turn(week).decided.outcome for week in (7, 8)] == ["rejected", "refused"]
    clear(told.model, "a tester")
    told.turn(8)
    told.turn(8)
    assert [e.kind for e in told.home.ledger.entries("toy")][-4:] == ["rejected", "refused", "cleared", "rejected"]


@pytest.fixture(scope="module")
def decaying(tmp_path_factory):
    """Ten weeks of labels that come late; those of the tenth will tell of a decay."""
    late = PLAIN.replace("known_after: 1 day", "known_after: 8 days").replace("gate_window: 14", "gate_window: 20")
    rows = stream(12 * 7, per_day=160)
    rows = rows.assign(y=np.where(in_week(rows, 9), 1 - rows["y"], rows["y"]))
    told = Story(tmp_path_factory.mktemp("decaying"), rows, late)
    for week in range(6, 11):
        told.turn(week)
    return told


@pytest.mark.parametrize("way", ["event", "inline"])
def test_a_decay_that_late_labels_told_is_not_lost_in_a_crash(decaying, tmp_path, monkeypatch, way):
    told = decaying.branch(tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trueup.loop.turn.announce", killed)
        patch.setattr("trueup.loop.turn.challenge", killed)
        with pytest.raises(KeyboardInterrupt):
            turn.cycle(steps, told.model, streams.week(11), retrain=way)
    assert told.home.store.results("toy", "monitor", dict, window(9))[-1].body["diagnosis"] == "decayed"
    told.open()
    if way == "inline":
        assert told.turn(11).decided.outcome in {"promoted", "rejected"}
    else:
        monitored(told, streams.week(11))
        assert len(asked(told, "trueup.model.decayed")) == 1
