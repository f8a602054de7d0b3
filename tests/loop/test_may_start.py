"""Storms of requests to retrain, through the loop: one training, and an entry for what was refused."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import dataclass
from datetime import UTC, timedelta

import pytest

from tests import streams
from tests.story import PLAIN, Story, in_week, stream
from trueup.adapters.sql.engines import connect
from trueup.adapters.sql.lock import alone
from trueup.domain.events import event_id
from trueup.errors import RegistryUnavailable, UsageError
from trueup.loop import steps, turn
from trueup.loop.may_start import clear

NOW = streams.week(7)
UNREACHABLE = "  gates:\n    - {kind: absolute, metric: log_loss, at_most: 0.0001}\n"


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """Seven weeks: a first champion after five, and two weeks that it scored."""
    told = Story(tmp_path_factory.mktemp("grown"), stream(9 * 7))
    told.turn(5)
    told.turn(7)
    return told


@dataclass
class Counting:
    """The steps of the loop; counts what they begin."""

    trained: int = 0

    def __getattr__(self, name):
        return getattr(steps, name)

    def train(self, *args):
        """Count, and train."""
        self.trained += 1
        return steps.train(*args)


def asking(told, do, as_of, reason="decayed"):
    return turn.retrain(do, told.model, as_of, reason)


def kinds(told):
    return [e.kind for e in told.home.ledger.entries("toy")]


def test_identical_requests_give_one_training_and_one_decision(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    decided = [asking(told, do, NOW) for _ in range(8)]
    assert do.trained == 1
    assert len({d.sequence for d in decided}) == 1
    assert kinds(told)[:1] == ["promoted"]
    assert len(kinds(told)) == 2


@pytest.mark.parametrize("moments", [4, pytest.param(50, marks=pytest.mark.thorough)])
def test_a_burst_of_requests_for_one_moment_gives_one_training(grown, tmp_path, moments):
    """Of two kinds and of moments within a day."""
    told, do = grown.branch(tmp_path), Counting()
    asked = [NOW + timedelta(minutes=10 * i) for i in range(moments)]
    decided = [asking(told, do, m, reason) for m in asked for reason in ("decayed", "stale")]
    assert do.trained == 1
    assert {d.outcome for d in decided[1::2]} == {"refused"}
    refused = [e for e in told.home.ledger.entries("toy") if e.kind == "refused"]
    assert len(refused) == 1  # the same reason, rule and batch
    assert refused[0].body.rule == "cooldown"
    assert "retrain.cooldown" in decided[1].reasons[0]
    topics = [m.topic for m in told.home.ledger.pending_outbox()]
    assert topics.count("trueup.retrain.refused") == 1
    assert told.home.ledger.verify() == []


def test_a_request_from_the_past_is_recorded_and_starts_nothing(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    asking(told, do, NOW)
    late = asking(told, do, streams.week(6))
    assert (do.trained, late.outcome) == (1, "refused")
    assert "before the last retrain" in late.reasons[0]
    assert asking(told, do, streams.week(6), "manual").outcome != "refused"  # a person may


def test_a_request_from_the_future_is_recorded_and_starts_nothing(grown, tmp_path):
    """It would else be the newest start, and hold back all that come after it until its moment has come."""
    told, do = grown.branch(tmp_path), Counting()
    early = asking(told, do, streams.week(50))
    assert (do.trained, early.outcome) == (0, "refused")
    assert "is after the newest data" in early.reasons[0]
    assert asking(told, do, NOW + timedelta(days=1)).outcome != "refused"  # the batch's last labels are a day late
    assert do.trained == 1
    assert asking(told, do, streams.week(50), "manual").outcome != "refused"  # a person may


def test_by_the_wall_clock_the_future_begins_now(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    (told.configs / "toy.yaml").write_text(PLAIN + "clock: wall\n")
    told.home.now = lambda: (NOW + timedelta(days=2)).replace(tzinfo=UTC)
    assert asking(told, do, NOW + timedelta(days=2, minutes=1)).outcome == "refused"
    assert asking(told, do, NOW + timedelta(days=2)).outcome != "refused"


def test_without_cooldown_the_same_data_are_not_tried_twice(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    config = PLAIN.replace("min_new_days: 6\n", "min_new_days: 6\n" + UNREACHABLE) + "retrain: {cooldown: 0 days}\n"
    (told.configs / "toy.yaml").write_text(config)
    assert asking(told, do, NOW).outcome == "rejected"
    again = asking(told, do, NOW, "stale")
    assert (do.trained, again.outcome) == (1, "refused")
    assert "already tried with" in again.reasons[0]


def test_after_too_many_rejections_it_stops_until_a_person_or_new_labels_let_it_go_on(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    config = PLAIN.replace("min_new_days: 6\n", "min_new_days: 6\n" + UNREACHABLE)
    (told.configs / "toy.yaml").write_text(config + "retrain: {cooldown: 0 days, max_rejections: 1}\n")
    told.source(stream(12 * 7))
    with pytest.raises(UsageError, match="nothing to clear"):
        clear(told.model, "a tester")
    assert asking(told, do, NOW).outcome == "rejected"
    stopped = asking(told, do, streams.week(8))
    assert stopped.outcome == "refused"
    assert "trueup clear" in stopped.reasons[0]
    assert clear(told.model, "a tester")[-1].body.by == "a tester"
    with pytest.raises(UsageError, match="nothing to clear"):
        clear(told.model, "a tester")
    assert asking(told, do, streams.week(8)).outcome == "rejected"
    assert asking(told, do, streams.week(9)).outcome == "refused"
    assert asking(told, do, streams.week(11)).outcome == "rejected"  # two weeks that judged nobody
    assert kinds(told)[-6:] == ["rejected", "refused", "cleared", "rejected", "refused", "rejected"]
    assert do.trained == 3
    assert told.home.ledger.verify() == []


class Failing(Counting):
    """Trainings that end with an error."""

    error: Exception = RuntimeError("no space left on the device")

    def evaluate(self, *_):
        raise self.error


def test_after_too_many_failures_it_stops_as_after_rejections(grown, tmp_path):
    told, do = grown.branch(tmp_path), Failing()
    (told.configs / "toy.yaml").write_text(PLAIN + "retrain: {max_rejections: 2}\n")
    told.source(stream(12 * 7))
    for _ in range(2):  # the same request: a failure is no decision, and holds back no second try
        with pytest.raises(RuntimeError, match="no space"):
            asking(told, do, NOW)
    stopped = asking(told, do, NOW)
    assert (stopped.outcome, do.trained) == ("refused", 2)
    assert "trueup clear" in stopped.reasons[0]
    assert "trueup.retrain.refused" in [m.topic for m in told.home.ledger.pending_outbox()]
    failed = [e for e in told.home.ledger.entries("toy") if e.kind == "failed"]
    assert [e.body.reasons for e in failed] == [("RuntimeError: no space left on the device",)] * 2
    with pytest.raises(RuntimeError, match="no space"):
        asking(told, do, NOW, "manual")  # a person may
    with pytest.raises(RuntimeError, match="no space"):
        asking(told, do, streams.week(9))  # two weeks that judged nobody
    assert asking(told, do, streams.week(10)).outcome == "refused"
    clear(told.model, "a tester")
    assert asking(told, Counting(), streams.week(10)).outcome != "refused"
    assert told.home.ledger.verify() == []


def test_an_error_that_may_pass_is_not_counted(grown, tmp_path):
    told, do = grown.branch(tmp_path), Failing()
    do.error = RegistryUnavailable("it does not answer")
    (told.configs / "toy.yaml").write_text(PLAIN + "retrain: {max_rejections: 1}\n")
    for _ in range(2):
        with pytest.raises(RegistryUnavailable):
            asking(told, do, NOW)
    assert kinds(told) == ["promoted"]


def test_while_another_retrains_nobody_else_does(grown, tmp_path):
    told, do = grown.branch(tmp_path), Counting()
    with told.home.retraining("toy") as first:
        assert first
        waiting = asking(told, do, NOW, "manual")
    assert (waiting.outcome, do.trained) == ("refused", 0)
    assert "at work" in waiting.reasons[0]
    assert asking(told, do, NOW, "manual").outcome != "refused"
    assert do.trained == 1


def _hold(url, ready):
    with alone(connect(url), "retrain-toy") as held:
        ready.put(held)
        signal.pause()


def test_the_lock_of_a_killed_process_is_free_at_once(where):
    context = multiprocessing.get_context("fork")
    ready = context.Queue()
    owner = context.Process(target=_hold, args=(where, ready))
    owner.start()
    assert ready.get(timeout=60)
    engine = connect(where)
    with alone(engine, "retrain-toy") as held, alone(engine, "retrain-other") as other:
        assert (held, other) == (False, True)
    os.kill(owner.pid, signal.SIGKILL)
    owner.join(30)
    for _ in range(100):
        with alone(engine, "retrain-toy") as held:
            if held:
                break
    assert held
    engine.dispose()


def test_who_waits_for_a_lock_gets_it_when_it_is_let_go_and_not_before(where):
    one, other, told = connect(where), connect(where), []

    def hold():
        with alone(one, "alias-toy") as held:
            told.append(held)
            held_now.set()
            time.sleep(0.5)
            told.append("let go")

    held_now = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    assert held_now.wait(30)
    with alone(other, "alias-toy", wait=0.1) as held:
        assert not held
    with alone(other, "alias-toy", wait=30) as held:
        told.append(held)
    holder.join(30)
    assert told == [True, "let go", True]
    for engine in (one, other):
        engine.dispose()


@pytest.fixture(params=["sqlite", "postgres"])
def where(request, tmp_path):
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else f"sqlite:///{tmp_path}/trueup.db"


def test_deployments_are_told_and_nothing_is_trained(tmp_path):
    """`run --retrain event`: the first champion is made all the same; then events stand in the outbox, once."""
    rows = stream(9 * 7)
    rows.loc[in_week(rows, 7), "x"] = 99.0
    config = PLAIN.replace("min_matured: 100", "min_matured: 100\n  stale_after: 10 days")
    told = Story(tmp_path, rows, config)

    def loop_at(week):
        return turn.cycle(steps, told.model, streams.week(week), retrain="event")

    assert loop_at(5).decided.outcome == "promoted"
    done = loop_at(7)
    assert done.decided.outcome == "none"
    loop_at(7)
    loop_at(8)
    found = {m.topic: m for m in told.home.ledger.pending_outbox()}
    assert list(found) == ["trueup.model.promoted", "trueup.model.stale", "trueup.data.broken"]
    stale, broken = found["trueup.model.stale"], found["trueup.data.broken"]
    assert stale.payload["reason"] == "stale"
    assert stale.payload["as_of"] == streams.week(7).isoformat()
    assert stale.payload["batch"] == f"{streams.week(6).isoformat()}/{streams.week(7).isoformat()}"
    assert stale.event_id == event_id(stale.topic, "toy", f"{stale.payload['batch']}:r1")
    assert any("x" in reason for reason in broken.payload["reasons"])
    assert kinds(told) == ["promoted"]

    before = told.home.ledger.pending_outbox()
    announced_again = Story.branch(told, tmp_path / "again")
    # A crash between the announcement and its mark: the batch is handled again, and says the same.
    with announced_again.home.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM results WHERE stage = 'run'")
    turn.cycle(steps, announced_again.model, streams.week(8), retrain="event")
    after = announced_again.home.ledger.pending_outbox()
    assert [(m.topic, m.event_id, m.payload) for m in after] == [(m.topic, m.event_id, m.payload) for m in before]
