"""Two runs of one model at once, as when Prefect's limit has forgotten the first: each batch is handled once."""

from collections import Counter
from threading import Event, Thread
from types import SimpleNamespace

import pytest

from tests import streams
from tests.story import Story, stream, window
from trueup.loop import steps
from trueup.loop.turn import cycle, monitor_newest


class Paused:
    """The stages, of which the first look at a batch waits for a word."""

    def __init__(self) -> None:
        self.reached, self.go_on, self.looks = Event(), Event(), 0

    def steps(self) -> SimpleNamespace:
        offered = {name: getattr(steps, name) for name in dir(steps) if not name.startswith("_")}
        return SimpleNamespace(**offered | {"monitor": self.monitor})

    def monitor(self, *asked):
        self.looks += 1
        self.reached.set()
        assert self.go_on.wait(120)
        return steps.monitor(*asked)


def test_what_a_killed_run_has_looked_at_is_not_looked_at_again(tmp_path, monkeypatch):
    """Whatever the moment of the next run: it goes on where the first was stopped."""
    told = Story(tmp_path, stream(7 * 7))
    told.turn(5)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("trueup.loop.turn._record", killed)
        with pytest.raises(KeyboardInterrupt):
            told.turn(6)
    first = told.home.store.results("toy", "monitor", dict, window(5))
    assert len(first) == 1
    done = told.turn(7)
    assert [o.window for o in done.observed] == [window(5), window(6)]
    assert told.home.store.results("toy", "monitor", dict, window(5)) == first
    again = monitor_newest(steps, told.model, streams.week(7))
    assert again.window == window(6)


def test_the_second_waits_and_finds_the_batches_done(tmp_path):
    first = Story(tmp_path, stream(4 * 7))
    second = Story.at(tmp_path, first.frame)
    early, late = Paused(), Paused()
    late.go_on.set()
    done = {}

    def run(story, paused, week):
        done[week] = cycle(paused.steps(), story.model, streams.week(week), "event")

    threads = [Thread(target=run, args=asked) for asked in ((first, early, 3), (second, late, 4))]
    threads[0].start()
    assert early.reached.wait(120)
    threads[1].start()
    assert not late.reached.wait(2)  # it has not come so far as to look at anything
    early.go_on.set()
    for thread in threads:
        thread.join(240)
    assert {week: len(found.batches) for week, found in done.items()} == {3: 3, 4: 1}
    for stage in ("validate", "monitor", "run"):
        counts = Counter(r.window for r in first.home.store.results("toy", stage, dict))
        assert set(counts.values()) == {1}, stage
        assert len(counts) == 4, stage
    for story in (first, second):
        story.home.close()
