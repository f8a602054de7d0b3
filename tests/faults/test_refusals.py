"""What must not be promoted is not, through the same stages as everything else; and time may run backwards."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest

from tests import streams
from tests.faults.homes import CONFIG, FRAME, WEEKS, copied
from tests.faults.invariants import require_settled
from tests.forked import forked
from tests.story import Story
from trueup.domain.judging.gates import CHALLENGER, NO_CHAMPION
from trueup.domain.types import Window
from trueup.governance.rollback import roll_back
from trueup.governance.status import decisions, overview
from trueup.loop import steps, turn

NOW = streams.week(WEEKS)


def without(metrics):
    return {name: value for name, value in metrics.items() if name != "log_loss"}


METRICS = {
    "NaN": (lambda m: m | {"log_loss": float("nan")}, "the challenger's log_loss is nan"),
    "infinite": (lambda m: m | {"auc": float("inf")}, "the challenger's auc is inf"),
    "absent": (without, "the challenger's log_loss is absent"),
    "none at all": (lambda _: {}, "the challenger's log_loss is absent"),
}


def judged_with(story: Story, **changed):
    """A retrain in which stages have another outcome; its result, and the champion after it."""
    do = SimpleNamespace(**{name: getattr(steps, name) for name in steps.__all__} | changed)
    done = turn.challenge(do, story.model, NOW, "manual")
    require_settled(story.model)
    entry = story.home.ledger.entries("toy")[-1]
    return done.outcome, " | ".join(done.reasons), entry.kind, story.model.champion().version


def measured(story: Story, which):
    """Its metrics are not what metrics are."""

    def evaluate(*args):
        found = steps.evaluate(*args)
        return replace(found, metrics=found.metrics | {CHALLENGER: METRICS[which][0](found.metrics[CHALLENGER])})

    return judged_with(story, evaluate=evaluate)


@pytest.mark.parametrize("which", METRICS)
def test_a_challenger_without_a_figure_is_refused(homes, tmp_path, which):
    outcome, reasons, recorded, version = forked(measured, copied(homes.eight, tmp_path / "copy"), which)
    assert (outcome, recorded, version) == ("rejected", "rejected", 1)
    assert f"rejected: {METRICS[which][1]}" in reasons


def unpredicted(story: Story):
    """One of its predictions is missing."""

    def evaluate(model, trained, as_of):
        found = steps.evaluate(model, trained, as_of)
        frame = model.home.store.read_evaluation(found.path)
        frame.loc[7, f"p_{CHALLENGER}"] = np.nan
        return replace(found, path=model.home.store.put_evaluation(f"{trained.run_id}-holes", frame))

    return judged_with(story, evaluate=evaluate)


def test_a_challenger_that_leaves_a_row_out_is_refused(homes, tmp_path):
    outcome, reasons, _, version = forked(unpredicted, copied(homes.eight, tmp_path / "copy"))
    assert (outcome, version) == ("rejected", 1)
    assert "predictions of the challenger are missing or infinite" in reasons


def earlier_gate(story: Story, role: str):
    """The gate window begins before the end of a judged model's training."""
    until = story.model.champion().trained_until

    def train(model, chosen, as_of):
        start = until - timedelta(days=2) if role == "champion" else chosen.gate.start - timedelta(days=2)
        if role == "champion":  # which alone has seen these rows
            chosen = replace(chosen, train=Window(chosen.train.start, start), gate=Window(start, chosen.gate.end))
        trained = steps.train(model, chosen, as_of)
        return replace(trained, gate=Window(start, chosen.gate.end))

    return judged_with(story, train=train)


@pytest.mark.parametrize("role", ["challenger", "champion"])
def test_gate_rows_that_a_judged_model_was_trained_on_are_refused(homes, tmp_path, role):
    outcome, reasons, recorded, version = forked(earlier_gate, copied(homes.eight, tmp_path / "copy"), role)
    assert (outcome, recorded, version) == ("rejected", "rejected", 1)
    assert f"when the training of the {role} ends" in reasons


GATES = "  gates: [{kind: paired}, {kind: slices}, {kind: absolute, metric: log_loss, at_most: LIMIT}]\n"


def first(folder, limit: float):
    """Five weeks, with gates that compare with a champion and one that does not."""
    config = CONFIG.replace("promote:\n", "promote:\n" + GATES.replace("LIMIT", str(limit)))
    story = Story(folder, FRAME, config)
    done = story.turn(5).decided
    verdicts = {v.check: (v.ok, " | ".join(v.reasons)) for v in done.verdicts}
    entries = story.home.ledger.entries("toy")
    return done.outcome, verdicts, [e.kind for e in entries], story.model.champion()


@pytest.mark.usefixtures("homes")  # which have imported everything
@pytest.mark.parametrize(("limit", "outcome"), [(0.69, "promoted"), (0.01, "rejected")])
def test_the_first_champion_is_judged_by_absolute_and_baseline_gates_alone(tmp_path, limit, outcome):
    came_to, verdicts, kinds, current = forked(first, tmp_path, limit)
    assert came_to == outcome
    assert kinds == [outcome]
    assert (current is not None) == (outcome == "promoted")
    assert verdicts["paired"] == verdicts["slices"] == (True, NO_CHAMPION)
    assert verdicts["absolute log_loss"][0] == (outcome == "promoted")
    assert verdicts["baseline"][0]
    assert "prior" in verdicts["baseline"][1]


def backwards(story: Story):
    """Each decision is recorded years before the one that it follows."""
    for number, year in enumerate((2019, 2001, 1980)):
        story.home.now = lambda year=year: datetime(year, 1, 1, tzinfo=UTC)
        roll_back(story.model, 1 + number % 2, "Ann", f"complaints {number}")
    entries = story.home.ledger.entries("toy")
    require_settled(story.model)
    return {
        "recorded": [e.recorded_at.year for e in entries[-3:]],
        "sequence": [e.seq for e in entries],
        "terms": [t.version for t in story.model.succession()],
        "shown": [d.sequence for d in decisions(story.home, "toy", 9)],
        "champion": overview(story.model).champion,
        "alias": story.home.registry.champion_alias("toy"),
        "again": turn.challenge(steps, story.model, NOW, "manual").version,
    }


def test_when_the_clock_jumps_back_the_order_is_that_of_the_sequence(homes, tmp_path):
    found = forked(backwards, copied(homes.two, tmp_path / "copy"))
    assert found["recorded"] == [2019, 2001, 1980]
    assert found["sequence"] == list(range(1, len(found["sequence"]) + 1))
    assert found["terms"] == [1, 2, 1, 2, 1]
    assert found["shown"] == found["sequence"][::-1]
    assert found["champion"] == found["alias"] == 1
    assert found["again"] == 2  # the recorded decision, whenever it says that it was made
