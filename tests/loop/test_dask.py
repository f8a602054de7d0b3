"""The loop with TRUEUP_DASK: decisions and predictions equal those without it, to the digit."""

from __future__ import annotations

import os
import shutil
import signal
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from tests import clusters, streams
from tests.story import PLAIN, Story, stream
from trueup.adapters.dask import trials
from trueup.adapters.dask.cluster import Cluster
from trueup.adapters.fit_cache import Fits
from trueup.audit.reproduce import reproduce
from trueup.config.settings import Settings
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.learning.learning import build, defaults
from trueup.domain.learning.recipe import Recipe
from trueup.errors import ClusterFailed, WorkError
from trueup.home import Home
from trueup.loop.elsewhere import Elsewhere

pytestmark = pytest.mark.thorough
SEARCH = PLAIN.replace("  trials: 1\n  folds: 1\n", "  trials: 6\n  trials_at_once: 3\n  folds: 2\n").replace(
    "  families: [gradient_boosting]\n", "  families: [gradient_boosting, linear]\n"
)


def facts(story: Story) -> list[object]:
    """Every decision with its trials, without ids, places and times."""
    return [
        (e.kind, e.as_of, e.body.reasons, e.body.model and e.body.model.recipe, e.body.search and e.body.search.trials)
        for e in story.home.ledger.entries("toy")
    ]


def require_equal(one: Story, other: Story, weeks: int) -> None:
    assert facts(one) == facts(other)
    for week in range(weeks):
        assert_frame_equal(one.predictions(week), other.predictions(week), check_exact=True)


@pytest.fixture(scope="module")
def here():
    with clusters.running(2, processes=False) as one:
        yield one


WEEKS = (5, 8)  # the second turn catches up with three weeks


@pytest.fixture(scope="module")
def rows():
    return stream(8 * 7)


@pytest.fixture(scope="module")
def alone(rows, tmp_path_factory):
    story = Story(tmp_path_factory.mktemp("alone"), rows, SEARCH)
    for week in WEEKS:
        story.turn(week)
    return story


def test_decisions_trials_and_predictions_are_those_without_a_cluster(alone, here, rows, tmp_path, monkeypatch):
    there = Story(tmp_path, rows, SEARCH, dask=here.scheduler_address)
    units, submitted = list[str](), Cluster._submitted
    monkeypatch.setattr(Cluster, "_submitted", lambda c, do, a: units.append(do.__name__) or submitted(c, do, a))
    for week in WEEKS:
        there.turn(week)
    require_equal(alone, there, 8)
    assert units.count("_predicted") == 3
    assert units.count("_measured") >= 12
    entry = there.home.ledger.entries("toy")[0]
    assert len(entry.body.search.trials) == 6
    assert entry.body.search.seconds > 0
    assert len(there.predictions(7)) > 100


OWN = """
def squares(rows):
    if rows["x"].max() > 50:
        raise ValueError("no such x")
    return rows[["x"]].rename(columns={"x": "x2"}) ** 2
"""


def test_a_batch_that_cannot_be_predicted_fails_as_without_a_cluster(here, tmp_path):
    """The one before it is stored, and the one after it is not."""
    rows, errors = stream(8 * 7), []
    rows.loc[rows.index[rows["t"] >= streams.week(6)][0], "x"] = 60.0
    config = PLAIN.replace("max_value: 20}", "max_value: 99}").replace("[x, z]", "[x, z]\n  custom: own:squares")
    stories = [Story(tmp_path / "a", rows, config), Story(tmp_path / "b", rows, config, dask=here.scheduler_address)]
    for story in stories:
        (story.configs / "own.py").write_text(OWN)
        story.turn(5)
        with pytest.raises(WorkError, match=r"no such x") as info:
            story.turn(8)
        errors.append(str(info.value))
        assert [len(story.predictions(week)) > 100 for week in (5, 6, 7)] == [True, False, False]
    assert errors[0] == errors[1]
    require_equal(*stories, 8)


def test_a_worker_without_the_home_says_so(here, rows, tmp_path):
    there = Story(tmp_path, rows, PLAIN, dask=here.scheduler_address)
    there.turn(5)
    asked = Elsewhere.of(there.home)
    there.home.close()
    shutil.move(there.folder / "home", there.folder / "moved")
    with pytest.raises(ClusterFailed, match=r"the Dask worker tcp://127.* does not have the home .*object store"):
        there.home.cluster.call(opened, asked)
    assert not (there.folder / "home").exists()


def opened(there):
    with there.opened():
        pass


@pytest.fixture(scope="session")
def processes():
    """A cluster of two workers, each in a process of its own."""
    with clusters.running(2, processes=True) as one:
        yield one


@pytest.fixture
def scheduler(processes):
    """Its address, once both workers are there."""
    clusters.wait_until(lambda: len(processes.scheduler_info["workers"]) == 2)
    return processes.scheduler_address


def kill_a_busy_worker(processes, killed: list[int], task: str = "run") -> None:
    """Kill one worker while it computes, as a machine that runs out of memory would."""
    from distributed import Client

    with Client(processes.scheduler_address, set_as_default=False) as client:
        pids = client.run(os.getpid)
        busy = list[str]()

        def computing() -> bool:
            busy[:] = [w for w, tasks in client.processing().items() if any(task in str(t) for t in tasks)]
            return bool(busy)

        clusters.wait_until(computing)
        os.kill(pids[busy[0]], signal.SIGKILL)
        killed.append(pids[busy[0]])


def test_a_worker_killed_in_the_middle_of_a_trial_changes_nothing(alone, processes, scheduler, rows, tmp_path):
    there, killed = Story(tmp_path, rows, SEARCH, dask=scheduler), list[int]()
    killer = Thread(target=kill_a_busy_worker, args=(processes, killed))
    killer.start()
    for week in WEEKS:
        there.turn(week)
    killer.join()
    assert killed
    require_equal(alone, there, 8)


def test_workers_that_are_killed_by_every_trial_end_the_run_with_a_next_step(scheduler, rows, tmp_path, monkeypatch):
    deadly = Story(tmp_path, rows, SEARCH, dask=scheduler)
    deadly.turn(4)
    before = [(e.kind, e.body.reasons) for e in deadly.home.ledger.entries("toy")]
    assert before == [("held", ("not enough history: 27.0 days of matured labels, 28.0 days needed",))]
    monkeypatch.setattr(trials, "_measured", deadly_trial)
    with pytest.raises(
        ClusterFailed, match=r"(killed in the middle of the same work|lost 4 times).*give them more memory"
    ):
        deadly.turn(5)
    assert [(e.kind, e.body.reasons) for e in deadly.home.ledger.entries("toy")] == before
    monkeypatch.undo()
    assert deadly.turn(6).decided.outcome in {"promoted", "rejected", "held"}


def deadly_trial(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_failing_trial_is_recorded_as_without_a_cluster(scheduler, rows, tmp_path):
    config = SEARCH.replace("  parameters: {", "  parameters: {linear: {tol: -1.0}, ")
    stories = [Story(tmp_path / "a", rows, config), Story(tmp_path / "b", rows, config, dask=scheduler)]
    for story in stories:
        story.turn(5)
    require_equal(*stories, 5)
    states = [t["state"] for t in stories[0].home.ledger.entries("toy")[0].body.search.trials]
    assert "failed" in states
    assert "complete" in states


# `train.dask_workers`: the recipe records engine and number, and no other number fits it again.

LIGHTGBM = PLAIN.replace("[gradient_boosting]", "[lightgbm]\n  dask_workers: 2").replace(
    "{gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}",
    "{lightgbm: {n_estimators: 30, num_leaves: 8}}",
)


@pytest.fixture(scope="module")
def story(processes, rows, tmp_path_factory):
    clusters.wait_until(lambda: len(processes.scheduler_info["workers"]) == 2)
    places = {"dask": processes.scheduler_address, "dask_plain_fits": True}
    config = LIGHTGBM + "export: {required: true}\n"
    story = Story(tmp_path_factory.mktemp("lightgbm"), rows, config, **places)
    for week in (5, 8):
        story.turn(week)
    return story


def test_the_recipe_records_it_and_the_model_is_like_any_other(story):
    promoted = [e for e in story.home.ledger.entries("toy") if e.kind == "promoted"]
    for entry in promoted:
        parameters = entry.body.model.recipe.parameters
        assert (parameters["engine"], parameters["workers"]) == ("lightgbm.dask", 2)
        assert entry.body.refit.status == "pass"
    assert promoted
    assert len(story.predictions(7)) > 100
    with story.home.registry.files(story.model.champion().uri) as folder:
        assert (folder / "model.onnx").exists()
        assert not [p for p in folder.rglob("*") if p.is_file() and b"127.0.0.1" in p.read_bytes()]


def test_every_version_is_made_again_to_the_last_bit(story):
    entry = next(e for e in story.home.ledger.entries("toy") if e.kind == "promoted")
    for version in (entry.body.judged.version, entry.body.version):
        again = reproduce("toy", version, story.home)
        assert again.same, again.message
        assert again.exact


def test_without_that_many_workers_it_is_refused(story):
    version = story.model.champion().version
    places = {"home": story.home.root, "configs": story.configs, "dask_plain_fits": True}
    nowhere = Home(Settings(**places))
    with pytest.raises(ClusterFailed, match=r"fitted by lightgbm.dask on 2 workers.*set TRUEUP_DASK to a cluster"):
        reproduce("toy", version, nowhere)
    nowhere.close()
    with clusters.running(1, processes=False) as small:
        one = Home(Settings(**places, dask=small.scheduler_address))
        with pytest.raises(ClusterFailed, match=r"on 2 workers, because the model depends on their number.* has 1"):
            reproduce("toy", version, one)
        one.close()
    with clusters.running(2, processes=False, threads_per_worker=2) as broad:
        two = Home(Settings(**places, dask=broad.scheduler_address))
        with pytest.raises(ClusterFailed, match=r"start them with --nthreads 1"):
            reproduce("toy", version, two)
        two.close()


def test_a_worker_killed_in_the_middle_of_a_fit_is_no_failed_challenger(scheduler, processes):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(100_000, 4)), columns=list("abcd"))
    y = (frame["a"] * frame["b"] > rng.normal(size=len(frame))).astype(int)
    fits, schema = Fits(Cluster(scheduler, plain_fits=True)), FeatureSchema(tuple("abcd"), ())
    recipe = Recipe("lightgbm", {**defaults("lightgbm", Task.BINARY), "n_estimators": 2000})
    killed = list[int]()
    killer = Thread(target=kill_a_busy_worker, args=(processes, killed, "_train_part"))
    killer.start()
    with pytest.raises(ClusterFailed, match=r"a worker of lightgbm.dask was lost"):
        fits.fit(build(recipe, schema, Task.BINARY), frame, y, workers=2)
    killer.join()
    assert killed
