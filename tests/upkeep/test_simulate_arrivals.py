"""Old data as a live source would give them: handed out by batches, announced once, missed when they do not come."""

from datetime import timedelta

import pytest

from tests import streams
from tests.story import PLAIN, Story, stream, window
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.events import interval
from trueup.errors import NoData, UsageError
from trueup.home import Home
from trueup.loop import steps, turn
from trueup.loop.announce import watch
from trueup.model import Model
from trueup.upkeep.simulate_arrivals import fed, feed_next


@pytest.fixture
def told(tmp_path):
    story = Story(tmp_path, stream(6 * 7), PLAIN)
    return story


def arrived(story):
    return [m.payload["batch"] for m in story.home.ledger.pending_outbox() if m.topic == "trueup.data.arrived"]


def test_a_batch_at_a_time_is_handed_out_announced_and_read_by_the_loop(told):
    first = feed_next(told.model)
    assert (first.released, first.rows, len(first.left)) == ((window(0),), 560, 5)
    assert arrived(told) == [interval(window(0))]
    live = Home(Settings(home=told.home.root, configs=first.configs))
    live.background = told.home.background
    config = load_model(first.configs, "toy")
    assert config.ingest.source.kind == "files"
    assert config.model_copy(update={"ingest": told.config.ingest}) == told.config
    for week in range(1, 5):
        feed_next(told.model)
        done = turn.cycle(steps, Model(config, live), streams.week(week + 1))
        assert done.batches[-1].batch.window == window(week)
    assert done.decided.outcome == "promoted", done.decided.reasons
    with pytest.raises(UsageError, match="--from configs"):
        feed_next(Model(config, live))
    feed_next(told.model)
    assert fed(told.model).left == ()
    with pytest.raises(NoData, match="all 6 batches"):
        feed_next(told.model)
    assert arrived(told) == [interval(window(w)) for w in range(6)]
    live.close()


def test_an_announcement_that_a_crash_swallowed_is_made_up_for(told, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("trueup.ledger.ledger.Ledger.announce", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            feed_next(told.model)
    feed_next(told.model)
    assert interval(window(0)) in arrived(told)


def test_a_batch_that_does_not_come_is_announced_once(told):
    due = streams.week(6)
    assert watch(told.model, due + timedelta(days=8) - timedelta(seconds=1)) == []
    for _ in range(2):
        assert watch(told.model, due + timedelta(days=8)) == [window(6)]
    assert watch(told.model, due + timedelta(days=15)) == [window(6), window(7)]
    told_of = [m.payload for m in told.home.ledger.pending_outbox()]
    assert [p["batch"] for p in told_of] == [interval(window(6)), interval(window(7))]
    assert told_of[0]["due"] == (due + timedelta(days=8)).isoformat()
    assert told_of[0]["newest"] == due.isoformat()


def test_of_an_empty_source_the_newest_batch_is_missing(told):
    told.source(told.frame.head(0))
    assert watch(told.model, streams.week(3) + timedelta(days=1)) == [window(2)]
    assert watch(told.model, streams.week(3) + timedelta(hours=23)) == [window(1)]


def test_numbers_beside_values_that_mean_none_are_read_as_they_were_written(tmp_path):
    frame = stream(14, per_day=40)
    commas = frame["z"].map(lambda z: f"{z:.6f}".replace(".", ",")).where(frame["id"] % 50 != 0, "?")
    config = PLAIN.replace("path: data/*.csv}", 'path: data/*.csv, decimal: ","}')
    story = Story(tmp_path, frame.assign(z=commas), config.replace("week\n", "week\n  missing: {z: ['?']}\n", 1))
    live = Home(Settings(home=story.home.root, configs=feed_next(story.model).configs))
    (batch,) = steps.ingest(Model(load_model(live.configs, "toy"), live), streams.week(1))
    assert batch.rows.facts["sentinels"] == {"z": 6}
    assert live.store.read(batch.rows)["z"].dtype == "float64"
    live.close()
