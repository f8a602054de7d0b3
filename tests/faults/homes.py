"""Homes to do harm to: grown once, in the process that tests run in, and copied with their models for each test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.adapters.mlflow.database import move_artifacts
from trueup.audit.verify import anchor
from trueup.loop import steps, turn

WEEKS = 8
FRAME = stream(WEEKS * 7, change_on=5 * 7, per_day=40)
# As little as still makes a second champion; what the change leaves of the first is worse than nothing.
CONFIG = PLAIN.replace("max_iter: 40", "max_iter: 15").replace(
    "promote:\n", "score:\n  sink: {kind: folder, path: ../served}\npromote:\n  refit: false\n"
)


@dataclass(frozen=True)
class Homes:
    """A home at three moments."""

    five: Story  # after five weeks: the first champion
    eight: Story  # after eight: all batches are handled, and nobody has asked for a retrain
    two: Story  # after that: a second champion


def grow(folder: Path) -> Homes:
    """Let a home grow; what that imports, children that are forked later have imported."""
    five = Story(folder / "five", FRAME, CONFIG)
    assert five.turn(5).decided.outcome == "promoted"
    eight = copied(five, folder / "eight")
    turn.cycle(steps, eight.model, streams.week(WEEKS), retrain="never")
    two = copied(eight, folder / "two")
    assert turn.challenge(steps, two.model, streams.week(WEEKS), "manual").outcome == "promoted"
    for story in (five, eight, two):
        anchor(story.home)
        story.home.close()
    return Homes(five, eight, two)


def copied(story: Story, folder: Path) -> Story:
    """A copy with models of its own, at a place that no process has opened yet."""
    shutil.copytree(story.folder, folder)
    database = sa.create_engine(f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    with database.begin() as connection:
        move_artifacts(connection, str(story.folder / "home"), str(folder / "home"))
    database.dispose()
    return Story.at(folder, story.frame)
