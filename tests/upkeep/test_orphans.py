"""Trainings that die in a process of their own: what they leave in MLflow is collected, what anybody needs is not."""

from pathlib import Path

import pytest

from tests import streams
from tests.forked import Killed, forked
from tests.story import PLAIN, Story, stream
from trueup.errors import StaleDecision
from trueup.governance.status import overview
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile
from trueup.upkeep.orphans import FILES_TAG, Orphans, orphaned

# Where a training dies, and what it has left by then: versions, logged models.
DEATHS = {
    "upload.begun": (0, 1),  # the model is there, its files are not
    "model.logged": (0, 1),  # the model is ready
    "register.version": (1, 1),  # it has a version
    "refit.fitted": (1, 2),  # and a second model
}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    told = Story(tmp_path_factory.mktemp("begun"), stream(9 * 7), PLAIN)
    assert told.turn(5).decided.outcome == "promoted"
    turn.cycle(steps, told.model, streams.week(8), retrain="never")
    return told


@pytest.fixture
def told(begun, tmp_path):
    other = begun.branch(tmp_path)
    return other


def killed(story, where, week=8):
    """Let a retrain die there."""
    story.home.close()
    with pytest.raises(Killed):
        forked(retrained, story.folder, week, crash_at=where)
    story.open()


def retrained(folder, week):
    """Retrain in a process of its own."""
    turn.challenge(steps, Story.at(folder, stream(7)).model, streams.week(week), "manual")


def in_mlflow(story):
    """Runs, versions and logged models that MLflow shows."""
    client, registry = story.home.tracking.client, story.home.registry
    experiment = client.get_experiment_by_name("toy").experiment_id
    runs = {r.info.run_id: r.info.status for r in client.search_runs([experiment])}
    models = {m.model_id: m.artifact_location for m in client.search_logged_models([experiment])}
    return runs, {v.version for v in registry.versions("toy")}, models


@pytest.mark.parametrize(("where", "left"), DEATHS.items(), ids=list(DEATHS))
def test_what_a_killed_training_left_is_collected_after_a_day(told, where, left):
    state, before = overview(told.model), in_mlflow(told)
    killed(told, where)
    runs, versions, models = in_mlflow(told)
    assert (len(versions - before[1]), len(models.keys() - before[2].keys())) == left
    (dead,) = runs.keys() - before[0].keys()

    found = reconcile(told.model)
    assert found.closed_runs == (dead,)
    assert found.orphans == Orphans()  # it may still be looked at, for a day
    told.later(days=2)
    with told.home.retraining("toy"):
        assert "at work" in reconcile(told.model).note
    found = reconcile(told.model).orphans
    assert found.runs == (dead,)
    assert set(found.versions) == versions - before[1]
    assert set(found.models) == models.keys() - before[2].keys()
    assert in_mlflow(told) == before
    for model in found.models:
        assert not Path(models[model]).exists()
    assert reconcile(told.model).orphans == Orphans()

    told.open()
    assert overview(told.model) == state
    told.model.champion().load(told.home)
    assert turn.challenge(steps, told.model, streams.week(8), "manual").version is not None


def test_what_an_entry_or_an_alias_names_is_left_alone(told):
    entry = told.home.ledger.champion("toy").entry
    # as after a crash between record and end
    told.home.tracking.client.set_terminated(entry.body.model.run_id, "KILLED")
    for week in (8, 9):  # not the very same attempt: that would be gone on with
        killed(told, "register.version", week)
        reconcile(told.model)
    client = told.home.tracking.client
    *_, first, second = sorted(v.version for v in told.home.registry.versions("toy"))
    client.set_registered_model_alias("toy", "shadow", str(first))
    version = client.get_model_version("toy", str(second))
    client.create_registered_model("mine")
    client.create_model_version("mine", version.source, version.run_id)
    before = in_mlflow(told)
    told.later(days=2)
    assert orphaned(told.model) == []
    with told.home.retraining("toy"):
        assert reconcile(told.model).note == ""  # with nothing to do nobody's lock is in the way
    assert in_mlflow(told) == before
    client.delete_registered_model_alias("toy", "shadow")
    assert reconcile(told.model).orphans.versions == (first,)
    told.model.champion().load(told.home)


def test_of_another_homes_runs_nothing_is_touched(told):
    killed(told, "register.version")
    reconcile(told.model)
    before = in_mlflow(told)
    (told.home.root / "home.id").write_text("another")
    told.open()
    told.later(days=2)
    assert reconcile(told.model).orphans == Orphans()
    assert in_mlflow(told) == before


def test_a_failed_retrain_keeps_its_run_and_loses_its_files_with_the_reports(told, monkeypatch):
    def stale(*_):
        raise StaleDecision("somebody was faster")

    monkeypatch.setattr(steps, "promote", stale)
    before = in_mlflow(told)
    with pytest.raises(StaleDecision):
        turn.challenge(steps, told.model, streams.week(8), "manual")
    (failed,) = in_mlflow(told)[0].keys() - before[0].keys()
    told.later(days=300)
    assert reconcile(told.model).orphans == Orphans()
    told.later(days=400)
    models = in_mlflow(told)[2]
    found = reconcile(told.model).orphans
    assert found.runs == ()
    assert len(found.versions) >= 1
    assert not any(Path(models[model]).exists() for model in found.models)
    runs, versions, left = in_mlflow(told)
    assert runs == before[0] | {failed: "FAILED"}
    assert (versions, left) == before[1:]
    assert told.home.tracking.client.get_run(failed).data.tags[FILES_TAG] == "removed"
    assert reconcile(told.model).orphans == Orphans()
