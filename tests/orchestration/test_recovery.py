"""What crashes leave behind, and how it is put right: once, and only what is really dead."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from prefect import flow
from prefect.states import AwaitingConcurrencySlot

from tests import streams
from tests.story import PLAIN, Story, stream
from trueup.adapters.background import shared
from trueup.config.load import load_model
from trueup.home import HOME_TAG
from trueup.loop import steps, turn
from trueup.loop.reconcile import reconcile
from trueup.model import Model

DYING = """
import os, signal
from flows.run import run
from tests.story import NoReports
import trueup.home
from trueup.stages import train

trueup.home.shared = NoReports

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

train.search = die
run("toy", as_of="{as_of}")
"""


@flow
def of_others(model: str) -> None:
    """A flow that is none of ours, on the same server."""


@pytest.fixture
def told(tmp_path):
    story = Story(tmp_path, stream(6 * 7), PLAIN)
    return story


def runs(story, status):
    client = story.home.tracking.client
    experiment = client.get_experiment_by_name("toy")
    return [r.info.run_id for r in client.search_runs([experiment.experiment_id], f"attributes.status = '{status}'")]


def test_the_alias_follows_the_ledger_again(told):
    first = told.turn(5).decided
    assert first.outcome == "promoted"
    assert reconcile(told.model).alias is None
    told.home.registry.set_champion_alias("toy", first.version - 1)
    assert reconcile(told.model).alias == first.version
    assert told.home.registry.champion_alias("toy") == first.version
    assert reconcile(told.model).alias is None


def test_runs_of_a_dead_training_are_closed_and_those_of_others_are_not(told):
    tracking, home = told.home.tracking, told.home
    dead = tracking.start("toy", "challenger", {HOME_TAG: home.identity})
    other = tracking.start("toy", "challenger", {HOME_TAG: "another home"})
    with home.retraining("toy"):
        busy = reconcile(Model(told.config, home))
    assert busy.closed_runs == ()
    assert "at work" in busy.note
    assert reconcile(Model(told.config, home)).closed_runs == (dead,)
    assert runs(told, "KILLED") == [dead]
    assert runs(told, "RUNNING") == [other]
    assert reconcile(Model(told.config, home)).closed_runs == ()
    left = tracking.start("toy", "challenger", {HOME_TAG: home.identity})
    assert turn.cycle(steps, Model(told.config, home), streams.week(5)).decided.outcome == "promoted"
    assert left in runs(told, "KILLED")  # the next training closes what the last one left


def test_a_killed_flow_is_put_right_on_the_server_and_in_mlflow(prefect_server, told, monkeypatch):
    """SIGKILL in the middle of a training, in a process of its own."""
    from prefect.client.orchestration import get_client

    from trueup.orchestration.recovery.dead_runs import flip

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
        (run,) = [r for r in client.read_flow_runs() if r.name.startswith("run toy") and r.state.is_running()]
        assert flip(timedelta(hours=1)).flow_runs == ()
        end = time.monotonic() + 60
        flipped = flip(timedelta(0))
        while not flipped.flow_runs and time.monotonic() < end:  # until the server has written the heartbeat down
            time.sleep(1)
            flipped = flip(timedelta(0))
        assert flipped.flow_runs == (run.name,)
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
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    found = reconcile_home()
    assert found.problems == ()
    assert len(found.models[0].closed_runs) == 1
    assert reconcile_home().models[0].closed_runs == ()
    assert (
        turn.cycle(steps, Model(load_model(told.configs, "toy"), told.home), streams.week(5)).decided.outcome
        == "promoted"
    )
    shared().wait()


def test_slots_of_a_deployment_that_nobody_holds_are_taken_back(prefect_server):  # noqa: ARG001
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    from flows.score import score
    from trueup.orchestration.recovery.dead_runs import flip

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(score)
        deployment = client.create_deployment(flow_id=flow_id, name="slots", concurrency_limit=1)
        limit = client.read_deployment(deployment).global_concurrency_limit
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
        assert flip(timedelta(hours=1)).slots == ()
        assert flip(timedelta(0)).slots == ("slots",)
        assert client.read_deployment(deployment).global_concurrency_limit.active_slots == 0
        client.delete_deployment(deployment)


@pytest.fixture
def server(prefect_server):  # noqa: ARG001
    """A client, and a way to make runs of a flow that came to one state after the other."""
    from prefect import states
    from prefect.client.orchestration import get_client

    class Server:
        def __init__(self, client):
            self.client, self.deployments, self.runs = client, {}, []

        def run(self, flow, name, *passed, model="toy", **parameters):
            if flow.name not in self.deployments:
                flow_id = self.client.create_flow(flow)
                self.deployments[flow.name] = self.client.create_deployment(flow_id=flow_id, name="again")
            run = self.client.create_flow_run_from_deployment(
                self.deployments[flow.name], name=name, parameters={"model": model, **parameters}
            )
            self.runs.append(run)
            self.set(run, *passed)
            return run

        def set(self, run, *passed):
            for state in passed:
                made = getattr(states, state)() if isinstance(state, str) else state
                self.client.set_flow_run_state(run.id, made, force=True)

        def state(self, run):
            return self.client.read_flow_run(run.id).state

    with get_client(sync_client=True) as client:
        found = Server(client)
        yield found
        for run in found.runs:
            client.delete_flow_run(run.id)
        for deployment in found.deployments.values():
            client.delete_deployment(deployment)


def test_what_died_is_begun_again(server):
    """A run that its worker took and never began, and one that crashed; not one that was cancelled or called by hand."""
    from flows.feed import feed
    from flows.rollback import rollback
    from flows.score import score
    from trueup.orchestration.recovery.dead_runs import flip

    taken = server.run(score, "taken", "Pending")
    crashed = server.run(score, "crashed", "Running", "Crashed")
    back = server.run(rollback, "back", "Running", "Crashed")
    cancelled = server.run(score, "cancelled", "Running", "Cancelled")
    fed = server.run(feed, "fed", "Running", "Crashed")  # once more would be one batch more
    by_hand = server.client.create_flow_run(score, name="by hand", parameters={"model": "toy"})
    server.set(by_hand, "Running", "Crashed")
    assert set(flip(timedelta(minutes=5)).again) == {"crashed", "back"}
    found = flip(timedelta(0))
    assert found.flow_runs == found.again == ("taken",)
    assert flip(timedelta(0)).again == ()
    for run in (taken, crashed, back):
        assert server.state(run).is_scheduled()
    assert server.state(cancelled).is_cancelled()
    assert server.state(fed).is_crashed()
    assert server.state(by_hand).is_crashed()


def test_of_runs_that_wait_for_each_other_the_one_that_does_most_is_kept(server):
    from flows.run import run
    from trueup.orchestration.recovery.superseded_runs import drop_overtaken

    def waiting(name, **parameters):
        return server.run(run, name, AwaitingConcurrencySlot(), retrain="event", **parameters)

    early = waiting("early", as_of="2024-01-08T00:00:00")
    latest = waiting("latest", as_of="2024-01-22T00:00:00")
    between = waiting("between", as_of="2024-01-15T00:00:00")
    other = waiting("of another model", model="other", as_of="2024-01-08T00:00:00")
    inline = server.run(run, "retrains itself", AwaitingConcurrencySlot(), retrain="inline", as_of="2024-01-08")
    at_work = server.run(run, "at work", "Running", retrain="event", as_of="2024-01-01T00:00:00")
    assert drop_overtaken() == ("toy", "toy")
    assert drop_overtaken() == ()
    for gone in (early, between):
        assert "latest" in server.state(gone).message
        assert server.state(gone).is_cancelled()
    for kept in (latest, other, inline):
        assert server.state(kept).name == "AwaitingConcurrencySlot"
    assert server.state(at_work).is_running()
    newest = waiting("newest, whenever that is")
    assert drop_overtaken() == ("toy",)
    assert server.state(latest).is_cancelled()
    assert server.state(newest).name == "AwaitingConcurrencySlot"


def test_a_run_of_which_no_beat_ever_came_is_dead_after_a_while(server):
    """The server was killed just when the run began, and the run soon after: its only beat is lost."""
    from flows.score import score
    from trueup.orchestration.recovery.dead_runs import flip

    mute = server.run(score, "mute", "Running")
    by_hand = server.client.create_flow_run(score, name="mute, by hand", parameters={"model": "toy"})
    server.set(by_hand, "Running")
    assert flip(timedelta(0)).flow_runs == ()
    found = flip(timedelta(0), mute=timedelta(0))
    assert found.flow_runs == found.again == ("mute",)
    assert server.state(mute).is_scheduled()
    assert server.state(by_hand).is_running()
    server.set(by_hand, "Completed")


def test_what_never_comes_to_run_is_begun_again_so_often_and_told(server, told, monkeypatch):
    """A process that dies while it is imported never says that it runs."""
    from flows.score import score
    from trueup.orchestration.recovery.dead_runs import TRIES
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    monkeypatch.setenv("TRUEUP_HOME", str(told.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(told.configs))
    run = server.run(score, "broken import")
    server.run(score, "of another home", "Crashed", model="elsewhere")
    tries = 0
    while tries < 10:
        server.set(run, "Pending", "Crashed")
        if "broken import" not in reconcile_home().prefect.again:
            break
        tries += 1
    assert tries == TRIES
    assert server.state(run).is_crashed()
    reconcile_home()
    notices = [m for m in told.home.ledger.pending_notices() if m.topic == "trueup.flow.died"]
    (notice,) = [m.payload for m in notices if m.payload["run"] == "broken import"]
    assert not notice["begun_again"]
    assert f"restarted {TRIES} times and is given up" in notice["reasons"][1]
    assert not [m for m in notices if m.model == "elsewhere"]


def test_deaths_of_which_nobody_told_are_told_once(server, told, answering, monkeypatch):
    from prefect.states import Crashed

    from flows.score import score
    from flows.watch import watch
    from trueup.orchestration.recovery.dead_runs import GONE
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    people = answering(200)
    monkeypatch.setenv("TRUEUP_NOTIFY", people.url.replace("http:", "json:"))
    monkeypatch.setenv("TRUEUP_HOME", str(told.folder / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(told.configs))
    silent = Crashed(message=f"no heartbeat for 90 s: {GONE}")
    server.run(score, "silent score", "Running", silent)
    server.run(watch, "silent watch", "Running", silent)
    server.run(score, "loud", "Running", Crashed(message="its own hooks told of it"))
    assert {"silent score", "loud"} <= set(reconcile_home().prefect.again)
    reconcile_home()
    said = "\n".join(body["message"] for body in people.bodies)
    assert (
        said.count(
            f"toy has a flow run with a dead process (silent score): no heartbeat for 90 s: {GONE}; it is restarted"
        )
        == 1
    )
    assert said.count("(silent watch)") == 1
    assert "loud" not in said


def test_what_was_cancelled_stays_so_however_its_process_ended(server, prefect_server):
    from prefect.states import Cancelling, Scheduled

    from flows.score import score
    from trueup.orchestration.recovery import interrupted_runs
    from trueup.orchestration.recovery.dead_runs import flip

    by_automation = server.run(score, "marked as dead", "Running", "Cancelling", "Crashed")
    begun_since = server.run(score, "asked for again", "Running", "Cancelling", "Crashed", Scheduled(), "Crashed")
    assert flip(timedelta(minutes=5)).again == ("asked for again",)
    assert server.state(by_automation).is_cancelled()
    assert server.state(begun_since).is_scheduled()

    cut_off = server.run(score, "cut off", "Running")
    cancelling = server.run(score, "cut off while cancelled", "Running", Cancelling())
    others = server.run(of_others, "of others", "Running")
    assert interrupted_runs.end_all(prefect_server) >= 2
    assert server.state(cut_off).is_crashed()
    assert server.state(cancelling).is_cancelled()
    assert server.state(others).is_running()
    server.set(others, "Completed")
    assert flip(timedelta(minutes=5)).again == ("cut off",)


def test_a_run_whose_process_lives_is_neither_marked_nor_begun_again(server):
    """After a machine was suspended, beats are missing and nothing is dead."""
    from flows.score import score
    from trueup.orchestration.recovery.dead_runs import flip

    run = server.run(score, "suspended with its machine", "Running", "Crashed")
    taken = server.run(score, "slow to begin", "Pending")
    engines = [
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(300)", "prefect.engine"],
            env={**os.environ, "PREFECT__FLOW_RUN_ID": str(each.id)},
        )
        for each in (run, taken)
    ]
    try:
        time.sleep(0.5)  # until it has become what it is
        found = flip(timedelta(0))
        assert found.again == found.flow_runs == ()
        assert server.state(run).is_crashed()
        assert server.state(taken).is_pending()
    finally:
        for engine in engines:
            engine.kill()
            engine.wait()
    assert set(flip(timedelta(0)).again) == {"suspended with its machine", "slow to begin"}


def test_the_command_says_what_it_did(prefect_server, trueup):  # noqa: ARG001
    assert Path(trueup.folder, "configs", "toy.yaml").exists()
    answer = trueup("reconcile")
    assert answer.code == 0, answer.err
    assert "events: 0 delivered" in answer.out
    assert "toy: alias right, 0 MLflow runs closed" in answer.out
    assert trueup("feed", "toy", "--next").out.startswith("1 handed out")
    assert "0 wait for a server" in trueup("reconcile", "toy").out
    assert trueup("clear", "toy", "--by", "me").code == 2
