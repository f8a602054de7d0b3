"""What crashes leave behind, and how it is put right: once, and only what is really dead."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from tests import streams
from tests.stages.story import PLAIN, Story, stream
from trueup.adapters.background import shared
from trueup.config.load import load_model
from trueup.stages import loop, steps
from trueup.stages.ports import HOME_TAG
from trueup.stages.reconcile import reconcile

DYING = """
import os, signal
from flows.run import run
from tests.stages.story import NoReports
from trueup.stages import ports
from trueup.stages import train as logic

ports.shared = NoReports

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

logic.search = die
run("toy", as_of="{as_of}")
"""


@pytest.fixture
def told(tmp_path):
    story = Story(tmp_path, stream(6 * 7), PLAIN)
    yield story
    story.ports.close()


def runs(story, status):
    client = story.ports.tracking.client
    experiment = client.get_experiment_by_name("toy")
    return [r.info.run_id for r in client.search_runs([experiment.experiment_id], f"attributes.status = '{status}'")]


def test_the_alias_follows_the_ledger_again(told):
    first = told.turn(5).decided
    assert first.outcome == "promoted"
    assert reconcile(told.config, told.ports).alias is None
    told.ports.registry.set_champion_alias("toy", first.version - 1)
    assert reconcile(told.config, told.ports).alias == first.version
    assert told.ports.registry.champion_alias("toy") == first.version
    assert reconcile(told.config, told.ports).alias is None


def test_runs_of_a_dead_training_are_closed_and_those_of_others_are_not(told):
    tracking, ports = told.ports.tracking, told.ports
    dead = tracking.start("toy", "challenger", {HOME_TAG: ports.identity})
    other = tracking.start("toy", "challenger", {HOME_TAG: "another home"})
    with ports.retraining("toy"):
        busy = reconcile(told.config, ports)
    assert busy.closed_runs == ()
    assert "at work" in busy.note
    assert reconcile(told.config, ports).closed_runs == (dead,)
    assert runs(told, "KILLED") == [dead]
    assert runs(told, "RUNNING") == [other]
    assert reconcile(told.config, ports).closed_runs == ()
    left = tracking.start("toy", "challenger", {HOME_TAG: ports.identity})
    assert loop.cycle(steps, told.config, ports, streams.week(5)).decided.outcome == "promoted"
    assert left in runs(told, "KILLED")  # the next training closes what the last one left


def test_a_killed_flow_is_put_right_on_the_server_and_in_mlflow(prefect_server, told, monkeypatch):
    """SIGKILL in the middle of a training, in a process of its own."""
    from prefect.client.orchestration import get_client

    from flows.crashed import flip

    environment = {
        "TRUEUP_HOME": str(told.folder / "home"),
        "TRUEUP_CONFIGS": str(told.configs),
        "PREFECT_API_URL": prefect_server,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
    }
    code = DYING.format(as_of=streams.week(5).isoformat())
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, check=False, timeout=200, capture_output=True
    )
    assert done.returncode == -9, done.stderr.decode()[-2000:]
    assert len(runs(told, "RUNNING")) == 1
    with get_client(sync_client=True) as client:
        (run,) = [r for r in client.read_flow_runs() if r.name == "run toy" and r.state.is_running()]
        assert flip(timedelta(hours=1)).flow_runs == ()
        end = time.monotonic() + 60
        flipped = flip(timedelta(0))
        while not flipped.flow_runs and time.monotonic() < end:  # until the server has written the heartbeat down
            time.sleep(1)
            flipped = flip(timedelta(0))
        assert flipped.flow_runs == ("run toy",)
        assert client.read_flow_run(run.id).state.is_crashed()
        tasks = set(flipped.task_runs)
        while not tasks and time.monotonic() < end:
            time.sleep(1)
            tasks |= set(flip(timedelta(0)).task_runs)
        assert tasks == {"train toy"}
        states = {t.name: t.state.type.value for t in client.read_task_runs() if t.flow_run_id == run.id}
        assert states["train toy"] == "CRASHED"
        assert states["ingest toy"] == "COMPLETED"

    for name, value in environment.items():
        if name.startswith("TRUEUP"):
            monkeypatch.setenv(name, value)
    from flows.reconcile import put_right

    found = put_right()
    assert found.problems == ()
    assert len(found.models[0].closed_runs) == 1
    assert put_right().models[0].closed_runs == ()
    assert loop.cycle(steps, load_model(told.configs, "toy"), told.ports, streams.week(5)).decided.outcome == "promoted"
    shared().wait()


def test_slots_of_a_deployment_that_nobody_holds_are_taken_back(prefect_server):  # noqa: ARG001
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    from flows.crashed import flip
    from flows.score import score

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(score)
        deployment = client.create_deployment(flow_id=flow_id, name="slots", concurrency_limit=1)
        limit = client.read_deployment(deployment).global_concurrency_limit
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
        assert flip(timedelta(hours=1)).slots == ()
        assert flip(timedelta(0)).slots == ("slots",)
        assert client.read_deployment(deployment).global_concurrency_limit.active_slots == 0
        client.delete_deployment(deployment)


def test_the_command_says_what_it_did(prefect_server, trueup):  # noqa: ARG001
    assert Path(trueup.folder, "configs", "toy.yaml").exists()
    answer = trueup("reconcile")
    assert answer.code == 0, answer.err
    assert "events: 0 delivered" in answer.out
    assert "toy: alias right, 0 MLflow runs closed" in answer.out
    assert trueup("feed", "toy", "--next").out.startswith("1 handed out")
    assert "0 wait for a server" in trueup("reconcile", "toy").out
    assert trueup("clear", "toy", "--by", "me").code == 2
