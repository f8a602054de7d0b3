"""What starts a retrain beside decay and age: the calendar, the amount of new labels, shifted inputs; or nothing at all."""

import pytest

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.loop import steps
from trueup.loop.turn import cycle

WEEKS = 9


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Five weeks with a first champion."""
    told = Story(tmp_path_factory.mktemp("due"), stream(WEEKS * 7))
    told.turn(5)
    return told


@pytest.fixture
def story(first, tmp_path):
    other = first.branch(tmp_path)
    return other


def under(story, rules):
    """Let the config say when to retrain, and nothing else."""
    plain = PLAIN.split("\nretrain:")[0]
    (story.configs / "toy.yaml").write_text(f"{plain.rstrip()}\nretrain:\n  findings: []\n{rules}")
    return story


def reasons(story):
    """Why each training was begun, and in which week."""
    tried = [e for e in story.home.ledger.entries("toy") if e.body.model]
    return [(e.body.trigger.reason, (e.as_of - streams.week(0)).days // 7) for e in tried]


def test_where_nothing_asks_for_it_the_champion_stays(story):
    under(story, "")
    for week in (7, WEEKS):
        story.turn(week)
    assert reasons(story) == [("first", 5)]


def test_by_the_calendar(story):
    under(story, "  every: 2 weeks\n")
    for week in range(6, WEEKS + 1):
        story.turn(week)
    assert reasons(story) == [("first", 5), ("schedule", 7), ("schedule", 9)]


def test_by_the_amount_of_labels_that_neither_trained_nor_judged(story):
    per_week = story.batch(4).rows.rows
    under(story, f"  new_rows: {int(1.5 * per_week)}\n")
    found = {week: story.turn(week).decided for week in range(6, WEEKS + 1)}
    assert reasons(story) == [("first", 5), ("grown", 7), ("grown", 9)], found


def test_who_leaves_retrains_to_others_asks_for_them_with_an_event(story):
    under(story, "  every: 1 week\n")
    cycle(steps, story.model, streams.week(6), retrain="event")
    assert reasons(story) == [("first", 5)]
    (told,) = story.home.ledger.announced("toy", "trueup.model.due")
    assert told.payload["reason"] == "schedule"
