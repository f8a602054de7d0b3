"""What a monitored batch says about its inputs: what moves predictions, what goes together, and the season a year ago."""

from datetime import datetime

import numpy as np
import pytest

from tests import streams
from tests.story import PLAIN, Story
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import Window
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.model import MONITOR, Champion
from trueup.stages.monitoring.drift import compare_inputs

CONFIG = PLAIN.replace("period: week", "period: month").replace(
    "min_history: 28 days", "min_history: 28 days\n  window: 100 days"
)
TRAINED, AGAIN = datetime(2024, 11, 1), datetime(2025, 2, 1)
JANUARY = Window(datetime(2024, 1, 1), datetime(2024, 2, 1))


@pytest.fixture(scope="module")
def story(tmp_path_factory):
    """A year and a month: x is high in each January, and in the last one z follows it. The champion saw the autumn."""
    frame = streams.Stream(days=(AGAIN - streams.START).days, per_day=8, seed=4).frame()
    january, last = frame["t"].dt.month == 1, frame["t"] >= datetime(2025, 1, 1)
    frame["x"] += np.where(january, 2.0, 0.0)
    frame["z"] = np.where(last, 0.95 * (frame["x"] - 2.0) + 0.3 * frame["z"], frame["z"])
    story = Story(tmp_path_factory.mktemp("year"), frame, CONFIG)
    assert cycle(steps, story.model, TRAINED).decided.outcome == "promoted"
    return story


@pytest.fixture(scope="module")
def seen(story):
    """The result for the last January."""
    cycle(steps, story.model, AGAIN, "never")
    return story.home.store.results("toy", MONITOR, MonitoringResult)[-1].body


def test_the_season_a_year_ago_is_named(seen):
    assert seen.drift.shifted
    assert "x" in seen.drift.drifted
    assert seen.drift.year_ago.window == JANUARY
    assert "x" not in seen.drift.year_ago.drifted
    assert f"noted: 1 of the 1 columns that drifted is as a year before, in {JANUARY}" in seen.reasons


def test_columns_that_go_together_otherwise_are_named(seen):
    assert seen.drift.multivariate.drifted
    assert any(r.startswith("noted: by how columns go together") and "x with z" in r for r in seen.reasons)


def test_what_moves_predictions_is_in_the_reason(seen):
    assert seen.drift.predictions is not None
    assert seen.drift.reason == f"1 of 3 columns drifted; {seen.drift.predictions.words}"


def test_a_champion_that_cannot_be_loaded_does_not_stop_the_monitoring(story, tmp_path, monkeypatch):
    cycle(steps, story.model, AGAIN, "never")
    again = story.branch(tmp_path / "copy")
    current, batch = again.model.champion(), again.model.usable_batches(AGAIN)[-1]

    def fails(*_):
        raise ValueError("no such class")

    monkeypatch.setattr(Champion, "load", fails)
    found = compare_inputs(again.model, batch, current, AGAIN)
    assert found.shifted
    assert found.reason.endswith("what this does to predictions is unknown: ValueError: no such class")
