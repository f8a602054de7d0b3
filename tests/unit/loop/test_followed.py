"""One wrapper around the stages: what listeners hear, and that they never change or end a run."""

from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace

import pytest

from trueup.errors import NotEnoughData
from trueup.loop.following.followed import concluded, following, seconds_of

AS_OF = datetime(2024, 1, 8)
MODEL = SimpleNamespace(config=SimpleNamespace(model="toy"))


@dataclass
class Heard:
    """A listener that writes down what it hears."""

    words: list
    broken: bool = False

    def opened(self, turn):
        self._say(f"{turn.what} {turn.as_of:%Y-%m-%d}")

    def began(self, call):
        self._say(f"{call.stage} {call.repeated}")

    def ended(self, call, ending):
        self._say(f"{call.stage}: {ending.error or ending.result}")

    def closed(self, ending):
        self._say(f"end: {ending.error or ending.result}")

    def _say(self, words):
        if self.broken:
            raise RuntimeError("the listener is broken")
        self.words.append(words)


def stages(**made):
    return SimpleNamespace(**made)


def follow(do, *listeners):
    return following(do, MODEL, "run", AS_OF, lambda _model: listeners)


def test_every_listener_hears_of_the_turn_its_stages_and_its_result():
    first, second = Heard([]), Heard([])
    with follow(stages(score=lambda _model, as_of: as_of.day), first, second) as do:
        assert do.score(MODEL, AS_OF) == 8
        with follow(do) as within:  # a retrain within a run
            assert within is do
            within.score(MODEL, AS_OF)
        assert concluded(do, "done") == "done"
    assert first.words == ["run 2024-01-08", "score 0", "score: 8", "score 1", "score: 8", "end: done"]
    assert second.words == first.words
    assert set(seconds_of(do)) == {"score"}


def test_an_error_is_told_without_its_secrets_and_raised_as_it_is():
    heard = Heard([])

    def ingest(_model, _as_of):
        raise OSError("no route to postgresql://me:word@db/x?sslpassword=other")

    with pytest.raises(OSError, match="me:word@db"), follow(stages(ingest=ingest), heard) as do:
        do.ingest(MODEL, AS_OF)
    masked = "no route to postgresql://me:***@db/x?sslpassword=***"
    assert heard.words[2:] == [f"ingest: {masked}", f"end: {masked}"]


def test_too_little_data_is_no_error():
    heard = Heard([])

    def train(_model, _as_of):
        raise NotEnoughData("12 rows are not enough")

    with follow(stages(train=train), heard) as do:
        with pytest.raises(NotEnoughData):
            do.train(MODEL, AS_OF)
        concluded(do, "held")
    assert heard.words[2:] == ["train: None", "end: held"]


def test_a_listener_that_fails_ends_nothing_and_is_named_in_the_log(caplog):
    heard = Heard([])
    with follow(stages(score=lambda _model, _as_of: 8), Heard([], broken=True), heard) as do:
        assert do.score(MODEL, AS_OF) == 8
        concluded(do, 8)
    assert heard.words[-1] == "end: 8"
    assert "Heard: ended of toy: the listener is broken" in caplog.text


def test_steps_without_a_follower_have_no_seconds():
    assert seconds_of(stages()) == {}
    assert concluded(stages(), 3) == 3
