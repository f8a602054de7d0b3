"""Killed at every crash point, and begun again: nothing that was acknowledged is lost, and it comes to the same."""

import ast
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

import trueup
from tests import streams
from tests.faults.homes import WEEKS, copied
from tests.faults.invariants import acknowledged, require_nothing_lost, require_settled, require_sound
from tests.forked import Killed, forked
from tests.story import Story
from trueup.crash import POINTS
from trueup.domain.types import ROW_ID
from trueup.errors import UntrustedModel
from trueup.governance.rollback import roll_back
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile

pytestmark = pytest.mark.thorough

NOW = streams.week(WEEKS)


def run(story: Story) -> None:
    """Handle the batch of the sixth week."""
    turn.cycle(steps, story.model, streams.week(6), retrain="never")


def challenge(story: Story) -> None:
    """Promote a second champion."""
    turn.challenge(steps, story.model, NOW, "manual")


def challenge_and_refit(story: Story) -> None:
    """The same, with the accepted recipe fitted again."""
    file = story.configs / "toy.yaml"
    file.write_text(file.read_text().replace("  refit: false\n", ""))
    challenge(story)


def challenge_and_export(story: Story) -> None:
    """The same, with an ONNX form of the challenger."""
    file = story.configs / "toy.yaml"
    if "export:" not in (text := file.read_text()):
        file.write_text(text + "export: {}\n")
    challenge(story)


def back(story: Story) -> None:
    """Put the first champion back."""
    roll_back(story.model, None, "Ann", "complaints")


# Which work is killed there, and the home it works on.
WORK = {
    "file.beside": (run, "five"),
    "ingest.file": (run, "five"),
    "ingest.labels": (run, "five"),
    "score.file": (run, "five"),
    "score.saved": (run, "five"),
    "run.announced": (run, "five"),
    "train.begun": (challenge, "eight"),
    "upload.begun": (challenge, "eight"),
    "upload.files": (challenge, "eight"),
    "model.logged": (challenge, "eight"),
    "register.version": (challenge, "eight"),
    "export.checked": (challenge_and_export, "eight"),
    "refit.fitted": (challenge_and_refit, "eight"),
    "ledger.writing": (challenge, "eight"),
    "ledger.recorded": (challenge, "eight"),
    "alias.set": (challenge, "eight"),
}
ROLLBACK = ("ledger.writing", "ledger.recorded", "alias.set")
CASES = [*((point, *work) for point, work in WORK.items()), *((point, back, "two") for point in ROLLBACK)]


def facts(story: Story):
    """What of a home does not depend on when, and how often, it was tried."""
    store, entries = story.home.store, story.home.ledger.entries("toy")
    parts = [found for w in range(WEEKS) if len(found := story.predictions(w))]
    predictions = pd.concat(parts).sort_values(ROW_ID, ignore_index=True)
    current = story.home.ledger.champion("toy")
    return {
        "decisions": [
            (e.decision_id, e.kind, e.as_of, e.body.evaluation and e.body.evaluation.metrics) for e in entries
        ],
        "events": Counter(m.topic for m in story.home.ledger.pending_notices()),
        "landed": [
            (r.dataset, r.window, r.revision, r.sha256) for d in ("rows", "labels") for r in store.batches(f"toy/{d}")
        ],
        "predictions": predictions[[ROW_ID, "prediction", "model_version", "predicted_at"]].to_dict("list"),
        "served": sorted(i for f in (story.folder / "served").glob("*.parquet") for i in pd.read_parquet(f)[ROW_ID]),
        "handled": [(r.window, r.revision, r.as_of) for r in store.results("toy", "run", dict)],
        "recipe": current.entry.body.model.recipe,
    }


def in_mlflow(story: Story):
    """Runs with their status, numbers of versions, logged models with their status and place."""
    client = story.home.tracking.client
    experiment = client.get_experiment_by_name("toy").experiment_id
    runs = {r.info.run_id: r.info.status for r in client.search_runs([experiment])}
    models = {m.artifact_location: str(m.status) for m in client.search_logged_models([experiment])}
    return runs, [v.version for v in story.home.registry.versions("toy")], models


def after_the_crash(story: Story):
    """Look at what a killed process has left, before anything is put right."""
    require_sound(story.model)
    return acknowledged(story.home, WEEKS), in_mlflow(story)


def mended(story: Story):
    """Reconcile as the next start does."""
    done = reconcile(story.model)
    require_settled(story.model)
    assert reconcile(story.model).alias is None
    return done.alias, done.closed_runs, in_mlflow(story)[0]


def worked(work, story: Story):
    """Do the work, again if need be, and see that once more changes nothing."""
    work(story)
    require_settled(story.model)
    done = facts(story)
    known, mlflow = acknowledged(story.home, WEEKS), in_mlflow(story)
    work(story)
    assert facts(story) == done
    assert acknowledged(story.home, WEEKS) == known
    assert in_mlflow(story) == mlflow
    return done, known, mlflow


def aftermath(story: Story, work):
    """Look, mend, and do it again, each time with the home opened anew."""
    found = after_the_crash(story)
    for place, status in found[1][2].items():
        if "PENDING" in status:
            with pytest.raises(UntrustedModel, match="its upload never ended"):
                story.home.registry.register("toy", place)
    story.open()
    fixed = mended(story)
    story.open()
    return found, fixed, worked(work, story)


@pytest.fixture(scope="module")
def undisturbed(homes, tmp_path_factory):
    """What each work comes to when nobody kills it."""
    return {
        work: forked(worked, work, copied(getattr(homes, home), tmp_path_factory.mktemp("undisturbed") / "copy"))
        for _, work, home in {work.__name__: (point, work, home) for point, work, home in CASES}.values()
    }


@pytest.mark.parametrize(("point", "work", "home"), CASES, ids=[f"{p}-{w.__name__}" for p, w, _ in CASES])
def test_killed_there_the_same_work_again_comes_to_the_same(homes, undisturbed, tmp_path, point, work, home):
    story = copied(getattr(homes, home), tmp_path / "copy")
    with pytest.raises(Killed):
        forked(work, story, crash_at=point)
    (left, (runs, versions, models)), (alias, closed, mended_runs), (done, known, mlflow) = forked(
        aftermath, story, work
    )
    assert (alias is not None) == (point == "ledger.recorded")  # decided, and MLflow did not show it yet
    assert set(closed) == {run for run, status in runs.items() if status == "RUNNING"}
    assert all(mended_runs[run] == "KILLED" for run in closed)
    assert done == undisturbed[work][0]
    require_nothing_lost(left, known)
    assert any("PENDING" in status for status in models.values()) == point.startswith("upload.")
    if point == "register.version":
        assert mlflow[1:] == (versions, models)  # gone on with: no second version, and no second model


def batches_seen(story: Story):
    return [b.rows.window for b in story.model.batches(NOW)]


@pytest.mark.parametrize("point", ["file.beside", "ingest.file", "ingest.labels"])
def test_of_a_killed_ingest_no_part_is_visible(homes, tmp_path, point):
    story = copied(homes.five, tmp_path / "copy")
    whole = forked(batches_seen, story)
    assert len(whole) == 5
    with pytest.raises(Killed):
        forked(run, story, crash_at=point)
    assert forked(batches_seen, story) == whole


def test_every_point_is_killed_and_none_is_unlisted():
    reached = Counter()
    for file in Path(trueup.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "reach":
                assert isinstance(node.args[0], ast.Constant), file
                reached[node.args[0].value] += 1
    assert reached == dict.fromkeys(POINTS, 1)
    assert set(WORK) == set(POINTS)


def test_without_the_environments_word_a_point_does_nothing(monkeypatch):
    from trueup.crash import CRASH_AT, reach

    for name in (None, "", "elsewhere"):
        monkeypatch.setenv(CRASH_AT, name) if name is not None else monkeypatch.delenv(CRASH_AT, raising=False)
        for point in POINTS:
            reach(point)
