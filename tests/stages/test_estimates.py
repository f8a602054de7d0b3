"""Performance is estimated before labels come, and each estimate is compared with them later: through whole turns."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

from tests import streams
from tests.story import PLAIN, Story
from trueup.loop import steps
from trueup.loop.turn import cycle
from trueup.stages.monitoring.estimate import estimated

DELAY = 1  # turns until most labels of a batch are known
FIRST = 7 + DELAY  # the turn that trains the first champion
HARDER, CHANGED = FIRST + 1, FIRST + 2  # weeks with inputs that tell little, and from which x means the opposite
LAST = CHANGED + DELAY + 2
CONFIG = PLAIN.replace("known_after: 1 day", "known_after: 8 days")
REGRESSION = (
    CONFIG.replace("task: binary", "task: regression")
    .replace("column: y,", "column: amount,")
    .replace("gradient_boosting]", "gradient_boosting]")
)


def rows() -> pd.DataFrame:
    """A stream whose x tells the label, but for one week in which it tells little; in the end it means the opposite."""
    frame = streams.Stream(days=LAST * 7, seed=3).frame()
    rng = np.random.default_rng(5)
    week = (frame["t"] - streams.START).dt.days // 7
    x = frame["x"] * np.where(week == HARDER, 0.1, 1.5)
    sign = np.where(week >= CHANGED, -1, 1)
    y = rng.random(len(x)) < 1 / (1 + np.exp(-3 * sign * x))
    # The amount is hard to tell where z is large.
    z = frame["z"].abs() * np.where(week == HARDER, 3, 1)
    amount = 5 * sign * x + rng.normal(size=len(x)) * (0.3 + z)
    return frame.assign(x=x, z=z, y=y.astype(int), amount=amount)


@pytest.fixture(scope="module", params=["binary", pytest.param("regression", marks=pytest.mark.thorough)])
def told(request, tmp_path_factory):
    """A home with a champion; every later turn leaves retrains to others."""
    frame = rows()
    frame = frame.drop(columns="amount" if request.param == "binary" else "y")
    story = Story(tmp_path_factory.mktemp("estimates"), frame, CONFIG if request.param == "binary" else REGRESSION)
    assert story.turn(FIRST).decided.outcome == "promoted", story.home.ledger.entries("toy")[-1].body.reasons
    return story


@pytest.fixture(scope="module")
def turns(told):
    """The turns after it, by week; the champion stays."""
    return {week: cycle(steps, told.model, streams.week(week), "event") for week in range(FIRST + 1, LAST + 1)}


def seen(turns, week, by=None):
    """What was found about a week's batch when it was new, or by a later turn."""
    return next(o for o in turns[by or week + 1].observed if o.window.start == streams.week(week))


def test_a_batch_without_labels_has_an_estimate_with_intervals_and_stays_unknown(turns):
    found = seen(turns, FIRST)
    made = found.figures.estimate
    assert (found.diagnosis, found.findings) == ("unknown", ("unknown",))
    assert (made.rows, made.worse, made.check, made.doubts) == (560, False, None, "")
    assert made.metrics[0].name in {"log_loss", "mse"}
    assert all(m.low <= m.value <= m.high for m in made.metrics[:2])
    assert made.metrics[0].value == pytest.approx(made.gate[0].value, rel=0.25)


@pytest.mark.usefixtures("turns")
def test_the_command_prints_an_estimate_with_its_interval(told, command_line):
    say = command_line(told.folder)
    assert re.search(
        r"estimated without labels: (log-loss|mse) [\d.]+ \(95 % [\d.]+ to [\d.]+\), [\d.]+ at the gate",
        say("status", "toy").out,
    )
    answered = json.loads(say("monitor", "toy", "--as-of", f"{streams.week(FIRST + 1):%Y-%m-%d}", "--json").out)
    assert answered["figures"]["estimate"]["metrics"][0]["name"] in {"log_loss", "mse"}


def test_inputs_that_tell_less_are_a_finding_that_alerts_and_starts_nothing(told, turns):
    found = seen(turns, HARDER)
    made, reason = found.figures.estimate, next(r for r in found.reasons if r.startswith("estimated_decay: "))
    assert made.worse
    assert found.diagnosis == "unknown"
    assert "estimated_decay" in found.findings[1:]
    assert made.reason in reason
    assert "100 more labels would settle it" in reason
    assert found.figures.awaits_labels
    assert turns[HARDER + 1].decided.outcome == "none"
    notices = [m for m in told.home.ledger.pending_notices() if m.topic == "trueup.model.estimated_decay"]
    assert len(notices) == 1
    assert notices[0].payload["reasons"] == [reason.removeprefix("estimated_decay: ")]


def test_an_estimate_is_compared_with_the_labels_once_they_have_matured(turns):
    for week in (FIRST, HARDER):
        made = seen(turns, week, by=week + 1 + DELAY).figures.estimate
        assert made.check is not None
        assert not made.check.off
        assert made.check.low <= made.check.error <= made.check.high
        assert made.check.error == pytest.approx(made.check.realised - made.check.estimated)


def test_estimated_decay_ends_when_labels_can_be_judged(turns):
    found = seen(turns, HARDER, by=HARDER + 1 + DELAY)
    assert "estimated_decay" not in found.findings


def test_a_changed_relation_is_told_by_the_check_and_held_against_later_estimates(turns):
    early = seen(turns, CHANGED).figures.estimate
    assert (early.worse, early.doubts) == (False, "")
    late = seen(turns, CHANGED, by=CHANGED + 1 + DELAY).figures.estimate
    assert late.check.off
    assert late.check.realised > 1.5 * late.check.estimated
    after = seen(turns, CHANGED + 1 + DELAY).figures.estimate  # of the next batch, in the same turn
    assert after.check is None
    assert "off: " in after.doubts
    assert "the relation of predictions and labels changed" in after.doubts


def test_an_estimate_never_counts_as_a_bad_batch(told, turns):
    """The only bad batches are those with labels: the champion is still the first one, and no retrain was asked for."""
    assert told.model.champion().epoch == 1
    for week in range(FIRST, CHANGED):
        assert "decayed" not in seen(turns, week).findings
    assert all(turns[week].decided.outcome == "none" for week in range(FIRST + 1, CHANGED + 1))


@pytest.mark.usefixtures("turns")
def test_a_model_without_the_rows_that_judged_it_has_no_estimate_and_the_result_says_why(told, tmp_path):
    current = told.model.champion()
    copy = told.branch(tmp_path / "copy")
    copy.home.store.drop_evaluation(current.evaluation_path)
    batch = told.batch(CHANGED)
    found = estimated(copy.model, batch, current, streams.week(LAST), None)
    assert found.estimate is None
    assert found.reason.startswith(f"the rows that judged version {current.version} cannot be read: ")
    copy.home.forget()
    file = copy.configs / "toy.yaml"
    file.write_text(file.read_text().replace("monitor:\n", "monitor:\n  estimate: {enabled: false}\n"))
    off = estimated(copy.model, batch, current, streams.week(LAST), None)
    assert (off.estimate, off.reason) == (None, "monitor.estimate.enabled is false")
