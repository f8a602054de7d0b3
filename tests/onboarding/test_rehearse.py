"""The rehearsal: what it says of a source's first batches, and that a run then finds the same."""

from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from tests import loans, streams
from tests.story import PLAIN, Story
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.learning.training_windows import Plan
from trueup.domain.types import Status
from trueup.home import Home
from trueup.model import Model
from trueup.onboarding.rehearse import rehearse
from trueup.onboarding.rehearse_gate import BEATS, NOT_SHOWN
from trueup.stages.train import plan

DAYS = 9 * 7


def rehearsed(folder, frame, config=PLAIN):
    """A rehearsal of a stream, and the story it might become; nothing may be there before or after."""
    story = Story(folder, frame, config)
    found = rehearse(story.model)
    assert not (folder / "home").exists()
    return found, story


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A rehearsal of a stream with nothing wrong, and its story."""
    return rehearsed(tmp_path_factory.mktemp("sound"), streams.Stream(days=DAYS).frame())


def test_a_sound_stream_has_a_first_champion_that_beats_the_prior(sound):
    found, _ = sound
    assert found.breaks == found.lacking == ""
    assert found.there == 9
    assert [b.status for b in found.batches] == [Status.PASS] * len(found.batches)
    assert [(b.rows, b.labels, b.quarantined, b.by) for b in found.batches] == [(560, 560, 0, ())] * len(found.batches)
    assert [(b.at_end, b.in_time, b.enough) for b in found.batches] == [(481, 560, True)] * len(found.batches)
    assert [(c.model, c.verdict) for c in found.compared] == [("quick boosting", BEATS), ("simple", BEATS)]
    quick = found.compared[0].figures
    assert quick["low"] < quick["difference"] < quick["high"] < 0


def test_the_first_champion_is_made_when_the_rehearsal_says(sound):
    found, story = sound
    weeks = (found.first.as_of - streams.week(0)).days // 7
    assert found.first.as_of == streams.week(weeks)
    assert (found.champion, found.tries, found.needs) == (True, 1, "")
    for week in (weeks - 1, weeks):
        decided = story.turn(week).decided
    chosen = plan(story.model, streams.week(1))  # no champion and no labels then
    assert not isinstance(chosen, Plan)
    assert decided.outcome == "promoted"
    (entry,) = [e for e in story.home.ledger.entries("toy") if e.kind == "promoted"]
    assert entry.as_of == found.first.as_of
    assert entry.body.model.rows >= found.first.train_rows


def test_outcomes_that_a_column_says_to_be_known_later_than_any_history_are_waited_for(tmp_path):
    frame = streams.Stream(days=26 * 7).frame()
    frame["told"] = frame["t"] + np.timedelta64(42, "D")
    found, _ = rehearsed(tmp_path, frame, PLAIN.replace("known_after: 1 day", "known_at: told"))
    assert found.lacking == ""
    assert found.first.train.end <= found.first.gate.start
    assert found.first.as_of > streams.week(9), "what min_history alone would have waited for"


def test_the_time_of_a_run_is_estimated(sound):
    found, _ = sound
    e = found.estimate
    assert {"read", "validate", "features", "linear", "boosting", "predict"} <= set(e.measured)
    assert e.start > 0
    assert e.batch > sum(e.measured[name] for name in ("read", "validate", "features")) / len(found.batches)
    assert e.retrain > e.measured["boosting"]


def test_bad_values_are_named_with_their_share_and_break_a_batch_when_they_are_many(tmp_path):
    frame = streams.Stream(days=DAYS).frame()
    frame.loc[:9, "x"] = 99.0
    frame.loc[560:699, "group"] = "q"
    frame.loc[[1130, 1131], "id"] = None
    found, _ = rehearsed(tmp_path, frame)
    first, second = found.batches[:2]
    (x,) = first.by
    assert x.expectation.startswith("expect_column_values_to_be_between")
    assert (x.rows, x.share) == (10, pytest.approx(10 / 560))
    assert (first.status, first.quarantined) == (Status.PASS, 10)
    assert second.status is Status.FAIL
    assert "25.00% of the rows cannot be used" in second.reasons[0]
    assert found.batches[2].warnings[0] == "2 rows without a key were left out"
    assert found.breaks == ""  # one of several


def test_a_run_would_break_when_most_batches_do(tmp_path):
    found, _ = rehearsed(tmp_path, streams.Stream(days=DAYS).frame().assign(x=99.0))
    assert found.breaks == f"{len(found.batches)} of {len(found.batches)} batches would be broken"
    assert found.first is None
    assert found.compared == ()
    assert found.estimate.retrain is None


def test_an_error_after_the_first_champion_breaks_a_run_too(tmp_path):
    frame = streams.Stream(days=DAYS).frame().astype({"y": object})
    frame.loc[frame["t"] >= streams.week(7), "y"] = "perhaps"
    found, _ = rehearsed(tmp_path, frame)
    assert (found.champion, len(found.batches), found.there) == (True, 7, 9)
    assert "'perhaps' (560)" in found.breaks


def test_more_batches_than_a_run_lands_are_not_rehearsed_either(tmp_path):
    config = PLAIN.replace("  period: week\n", "  period: week\n  max_batches: 8\n")
    assert config != PLAIN
    found, _ = rehearsed(tmp_path, streams.Stream(days=DAYS).frame(), config)
    assert "more than ingest.max_batches (8)" in found.breaks
    assert found.batches == ()


def test_without_signal_nothing_is_shown(tmp_path):
    frame = streams.Stream(days=DAYS).frame()
    y = np.random.default_rng(3).integers(0, 2, len(frame))
    found, _ = rehearsed(tmp_path, frame.assign(y=y))
    assert found.first is not None
    assert found.compared[0].verdict != BEATS
    assert found.compared[1].verdict == NOT_SHOWN
    assert found.breaks == ""
    assert not found.champion
    assert found.tries > 1
    assert "more informative features" in found.needs


def test_too_few_labels_are_said_to_be(tmp_path):
    frame = streams.Stream(days=DAYS).frame()
    frame["y"] = frame["y"].where(frame["id"] % 10 == 0)
    found, _ = rehearsed(
        tmp_path, frame, PLAIN.replace("  min_history: 28 days\n", "  min_history: 28 days\n  min_rows: 900\n")
    )
    assert {(b.labels, b.enough) for b in found.batches} == {(56, False)}
    assert found.first is None
    assert "`train.min_rows` requires 900" in found.lacking
    assert found.breaks == ""


def test_too_short_a_history_is_said(tmp_path):
    found, _ = rehearsed(tmp_path, streams.Stream(days=14).frame())
    assert (len(found.batches), found.there) == (2, 2)
    assert "not enough history" in found.lacking
    assert found.breaks == ""
    assert "the source holds 2 complete batches, 14 days" in found.needs


def test_labels_that_never_come_break_a_run(tmp_path):
    found, _ = rehearsed(tmp_path, streams.Stream(days=DAYS).frame().assign(y=None))
    assert "no matured label" in found.breaks
    assert "column y is empty" in found.breaks


def test_labels_that_begin_later_do_not(tmp_path):
    frame = streams.Stream(days=DAYS).frame()
    found, _ = rehearsed(tmp_path, frame.assign(y=frame["y"].where(frame["t"] >= "2024-01-15")))
    assert found.breaks == ""
    assert found.first is not None


def test_outcomes_apart_are_joined_as_in_a_run(tmp_path):
    configs = loans.write(tmp_path, *loans.book(weeks=13))
    found = rehearse(Model(load_model(configs, "loans"), Home(Settings(home=tmp_path / "home", configs=configs))))
    assert found.breaks == ""
    assert {b.labels for b in found.batches} == {b.rows for b in found.batches}
    assert [b.at_end for b in found.batches[:4]] == [0] * 4
    assert all(b.in_time == b.rows for b in found.batches)


def test_the_scratch_home_is_gone_also_when_somebody_stops_it(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    story, seen = Story(tmp_path, streams.Stream(days=DAYS).frame()), list[Path]()

    def stop(*_: object) -> None:
        seen.extend((tmp_path / "scratch").iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("trueup.onboarding.rehearse.validate", stop)
    with pytest.raises(KeyboardInterrupt):
        rehearse(story.model)
    assert seen
    assert not list((tmp_path / "scratch").iterdir())
    assert not (tmp_path / "home").exists()


def test_every_batch_is_validated_and_the_loop_is_played_until_there_is_a_champion(tmp_path):
    frame = streams.Stream(days=100, per_day=30).frame()
    frame.loc[frame["t"] >= "2024-04-01", "x"] = 99.0
    found, _ = rehearsed(tmp_path, frame)
    assert len(found.batches) == found.there == 14
    assert found.champion
    assert found.tries == 1
    assert found.first.as_of < datetime(2024, 3, 1)
    assert [b.status for b in found.batches[-2:]] == [Status.PASS, Status.FAIL]
