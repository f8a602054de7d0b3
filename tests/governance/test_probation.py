"""Probation: the old champion goes on in shadow, and comes back when the new one significantly loses to it."""

from datetime import timedelta

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story, stream, window
from trueup.domain.types import ROW_ID
from trueup.governance.status import overview
from trueup.loop import steps
from trueup.loop.turn import cycle

CHANGE, PROMOTED, LAST = 5, 8, 11
CONFIG = PLAIN.replace("promote:\n", "promote:\n  probation: {batches: 2, alpha: 0.05}\n").replace(
    "train:\n", "train:\n  window: 35 days\n"
)


def rows():
    """From the fifth week on x works the other way round."""
    return stream(LAST * 7, change_on=CHANGE * 7, per_day=120)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory):
    """A first champion, and a second one that learned the changed relation, on probation."""
    told = Story(tmp_path_factory.mktemp("probation"), rows(), CONFIG)
    told.turn(5)
    told.first = told.model.champion().version
    for week in (6, 7, 8):
        told.done = told.turn(week)
        if told.model.champion().version != told.first:
            break
    told.at = week
    told.second = told.model.champion().version
    assert told.second != told.first, told.done.decided.reasons
    return told


@pytest.fixture
def trial(promoted, tmp_path):
    other = promoted.branch(tmp_path)
    other.first, other.second, other.at = promoted.first, promoted.second, promoted.at
    return other


def from_week(story, week, seed, odds):
    """New labels from a week on."""
    frame = story.frame.copy()
    later = frame["t"] >= streams.week(week)
    p = 1 / (1 + np.exp(-odds(frame[later])))
    frame.loc[later, "y"] = (np.random.default_rng(seed).random(later.sum()) < p).astype(int)
    story.source(frame)


def back_to_the_old(frame):
    """What the first champion learned."""
    return 1.5 * frame["x"] + 2.0 * np.sign(frame["x"] * frame["z"]) + 0.8 * (frame["group"] == "a")


def neither(frame):
    """Nothing that either learned holds any more: both are as wrong as the other."""
    return 0.0 * frame["x"]


def test_a_new_champion_that_turns_worse_is_rolled_back_and_the_figures_are_recorded(trial):
    from_week(trial, trial.at, 3, back_to_the_old)
    done = trial.turn(trial.at + 1)
    shadow = trial.home.store.read_predictions("toy", window(trial.at), f"shadow:{trial.first}")
    served = trial.predictions(trial.at)
    assert set(served["model_version"]) == {trial.second}
    assert set(shadow["model_version"]) == {trial.first}
    assert set(shadow[ROW_ID]) == set(served[ROW_ID])

    found = done.observed[-1].figures.probation
    assert (found.verdict, found.look, found.of) == ("fail", 1, 2), found
    assert found.figures["low"] > 0
    assert trial.model.champion().version == trial.first
    assert trial.home.registry.champion_alias("toy") == trial.first
    entry = trial.home.ledger.entries("toy")[-1]
    assert entry.kind == "rolled_back"  # and no retrain for what was found about the one that is gone
    assert entry.body.approver.name == "trueup"
    assert entry.body.trigger.reason == "probation"
    assert entry.body.probation.figures == found.figures
    assert [m.topic for m in trial.home.ledger.pending_outbox()][-1] == "trueup.model.rolled_back"

    facts = trial.facts()
    assert trial.turn(trial.at + 1) == done
    assert trial.facts() == facts
    assert trial.turn(trial.at + 2).scored[-1].version == trial.first
    assert overview(trial.model).probation is None
    assert trial.home.ledger.verify() == []


def test_a_rollback_that_a_crash_prevented_is_made_by_the_next_run(trial, monkeypatch):
    from_week(trial, trial.at, 3, back_to_the_old)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("trueup.stages.monitoring.monitor.enforce", killed)
        with pytest.raises(KeyboardInterrupt):
            trial.turn(trial.at + 1)
    assert trial.model.champion().version == trial.second
    trial.open()
    cycle(steps, trial.model, streams.week(trial.at + 1) + timedelta(hours=1), retrain="never")
    assert trial.model.champion().version == trial.first
    assert [e.kind for e in trial.home.ledger.entries("toy")].count("rolled_back") == 1


def test_one_that_is_equal_stays_and_the_probation_ends(trial):
    from_week(trial, trial.at, 4, neither)
    looks = []
    for week in range(trial.at + 1, trial.at + 4):
        seen = watch(trial, week)
        looks.append(seen.figures.probation)
        assert trial.model.champion().version == trial.second, looks
    assert [p and p.verdict for p in looks] == ["pass", "pass", None]
    assert [p.look for p in looks[:2]] == [1, 2]
    state = overview(trial.model).probation
    assert state.state == "passed"
    assert "2 of 2 looks" in state.says
    assert trial.home.store.read_predictions("toy", window(trial.at + 2), f"shadow:{trial.first}").empty


def watch(story, week):
    """A turn of the loop without its retrain."""
    return cycle(steps, story.model, streams.week(week), retrain="never").observed[-1]
