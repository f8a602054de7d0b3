"""The whole stack on this machine, with real servers: its start, what may go wrong with one, and its end.

One stack serves the tests of its life in the order in which they stand, for a start takes half a minute.
"""

import os
import re
import signal

import httpx
import psutil
import pytest
import sqlalchemy as sa
import yaml

from tests.blocks import commands, lines
from tests.stack import ROOT, Stack, answers, until
from trueup.adapters.sql.engines import connect
from trueup.orchestration.recovery import processes

DEPLOYED = len(yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"])


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    stack = Stack(tmp_path_factory.mktemp("stack") / "home")
    stack.said = stack("up", "--detach", "--wait", "500")
    yield stack
    processes.end(stack.home.resolve(), grace=0)


def test_every_server_is_up_and_named(stack):
    code, said = stack.said
    assert code == 0, said
    assert [line.split()[1] for line in said.splitlines() if line.split()[1:2] and "http://" in line] == [
        f"http://127.0.0.1:{port}" for port in stack.ports.values()
    ]
    assert stack.status()["ready"]
    for program, path in {"prefect": "/api/health", "mlflow": "/health", "evidently": "/api/version"}.items():
        assert answers(stack.ports[program], path), program


def test_mlflow_tells_the_reports_server_about_changed_aliases(stack):
    assert "MLflow tells the reports' server about changed aliases" in stack.said[1]
    listed = httpx.get(f"http://127.0.0.1:{stack.ports['mlflow']}/api/2.0/mlflow/webhooks", trust_env=False).json()
    (webhook,) = listed["webhooks"]
    assert (webhook["url"], webhook["status"]) == (
        f"http://127.0.0.1:{stack.ports['reports']}/webhooks/mlflow",
        "ACTIVE",
    )
    tried = httpx.post(
        f"http://127.0.0.1:{stack.ports['mlflow']}/api/2.0/mlflow/webhooks/{webhook['webhook_id']}/test",
        json={},
        trust_env=False,
        timeout=60,
    ).json()
    assert tried["result"]["response_status"] == 200, tried  # signed as the reports' server wants it


def test_everything_is_deployed_and_scheduled(stack):
    deployments = stack.ask("/deployments/filter", {})
    assert len(deployments) == DEPLOYED
    assert {
        d["pull_steps"][0]["prefect.deployments.steps.set_working_directory"]["directory"] for d in deployments
    } == {str(ROOT)}
    limited = {
        d["entrypoint"]: d["concurrency_options"]["collision_strategy"] for d in deployments if d["concurrency_options"]
    }
    assert limited["flows.retrain:retrain"] == "CANCEL_NEW"
    assert limited["flows.run:run"] == "ENQUEUE"
    # Not with every version of SQLAlchemy that Prefect allows.
    assert until(lambda: stack.ask("/flow_runs/filter", {"limit": 5}), 90)
    names = [a["name"] for a in stack.ask("/automations/filter", {})]
    assert names.count("trueup: mark dead flow runs") == 1


def test_the_worker_runs_flows_in_the_project(stack):
    run = stack.runs("score/flight_delays", model="flight_delays", as_of="2013-01-15")
    state = until(lambda: (s := stack.ask(f"/flow_runs/{run}")["state"])["type"] in {"FAILED", "COMPLETED"} and s)
    assert "NoData" in state["message"]


def test_a_second_up_says_that_it_runs(stack):
    before = stack.status()["pids"]
    code, said = stack("up")
    assert code == 0
    assert "runs already" in said
    assert stack.status()["pids"] == before


def test_a_used_port_is_named(stack, tmp_path):
    other = Stack(tmp_path / "home", ports={**Stack(tmp_path).ports, "mlflow": stack.ports["mlflow"]})
    code, said = other("up", "--detach")
    assert code == 2
    assert f"{stack.ports['mlflow']} (mlflow, set TRUEUP_MLFLOW_PORT)" in said
    assert other.nothing_left()
    assert other("down") == (0, "nothing was running\n")


def test_killed_servers_come_back(stack):
    before = stack.status()["pids"]
    for program in ("prefect", "mlflow"):
        os.kill(before[program], signal.SIGKILL)
    until(lambda: not answers(stack.ports["prefect"], "/api/health"))
    # MLflow's own child lives on and answers: only the pids tell that it was ended and started anew.
    until(lambda: all(stack.status()["pids"].get(p, before[p]) != before[p] for p in ("prefect", "mlflow")))
    until(lambda: answers(stack.ports["prefect"], "/api/health") and answers(stack.ports["mlflow"], "/health"), 120)
    assert len(stack.ask("/deployments/filter", {})) == DEPLOYED


def test_the_readme_feeds_the_stack_by_day_and_night(stack):
    """What follows on `trueup feed` in the docs: a model without a config in the feed's folder is named and left out."""
    assert (fed(stack) / "flight_delays.yaml").is_file()
    (by_night,) = [b for b in commands(ROOT / "README.md") if b.startswith("make up")]
    assert lines(by_night) == ["make up", "make down"]
    (by_hand,) = [b for b in commands(ROOT / "docs" / "operations.md") if b.startswith("make up")]
    assert lines(by_hand) == ["make up", "trueup stack status", "make down"]
    assert stack("stack", "status")[0] == 0


def fed(stack):
    """Say what the docs say of the feed; give the folder of configs that they name for the next start."""
    (block,) = [b for b in commands(ROOT / "docs" / "operations.md") if b.startswith("trueup feed")]
    hand_out, up = lines(block)
    code, said = stack(*hand_out.split()[1:])
    assert code == 0, said
    return stack.home / re.fullmatch(r"TRUEUP_CONFIGS=\.trueup/(\S+) make up", up)[1]


@pytest.mark.thorough
def test_a_start_that_was_killed_half_way_is_brought_to_its_end(tmp_path):
    stack = Stack(tmp_path / "home")
    try:
        first = stack.start("up", "--detach", "--wait", "500")
        said = first.stdout.readline()
        assert said == "prefect is up\n", said + first.communicate()[0]
        first.kill()
        first.communicate()
        code, said = stack("up", "--detach", "--wait", "500")
        assert code == 0, said
        assert "continuing it" in said
        assert stack.status()["ready"]
    finally:
        processes.end(stack.home.resolve(), grace=0)


@pytest.mark.thorough
def test_what_a_crash_left_over_is_cleared_and_ctrl_c_ends_everything(stack):
    feed = fed(stack)
    stack.more = {"TRUEUP_CONFIGS": str(feed)}
    supervisor = psutil.Process(stack.status()["pids"]["worker"]).parent()
    supervisor.kill()  # its programs live on, and so do its pid file, its socket and the record that all is well
    supervisor.wait(10)
    process = stack.start("up", "--wait", "500")
    said = []
    while not said or "Ctrl-C" not in said[-1]:
        said.append(process.stdout.readline())
        assert said[-1], "".join(said)
    assert "an earlier stack had left" in said[0]
    assert f"left out: flight_air_time; prefect.yaml names them, {feed} has no config\n" in said
    # What an earlier start deployed is withdrawn.
    assert {d["name"] for d in stack.ask("/deployments/filter", {})} == {"trueup", "flight_delays"}
    stack.runs("monitor/flight_delays", model="flight_delays", as_of="2013-02-01")
    until(lambda: [p for p in processes.marked(stack.home.resolve()) if "prefect.engine" in " ".join(p.cmdline())])
    while not process.stdout.readline().startswith("worker"):  # it passes on what they write
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=90)
    assert process.returncode == 0
    assert stack.nothing_left()
    assert not any(answers(port, "/") for port in stack.ports.values())


def test_down_ends_everything(stack):
    assert stack("down")[0] == 0
    assert stack.nothing_left()
    assert not any(answers(port, "/") for port in stack.ports.values())


@pytest.mark.thorough
def test_ledger_mlflow_and_prefect_move_to_postgresql(new_database, tmp_path):
    urls = {name: new_database() for name in ("ledger", "mlflow", "prefect")}
    where = {
        "TRUEUP_DATABASE_URL": "ledger",
        "TRUEUP_MLFLOW_BACKEND": "mlflow",
        "TRUEUP_PREFECT_DATABASE_URL": "prefect",
    }
    stack = Stack(tmp_path / "home", more={variable: urls[name] for variable, name in where.items()})
    try:
        assert stack.up()["ready"]
        assert len(stack.ask("/deployments/filter", {})) == DEPLOYED
        assert answers(stack.ports["mlflow"], "/health")
        run = stack.runs("score/flight_delays", model="flight_delays", as_of="2013-01-15")
        until(lambda: stack.ask(f"/flow_runs/{run}")["state"]["type"] in {"FAILED", "COMPLETED"}, 90)
        for name, table in {"ledger": "batches", "mlflow": "experiments", "prefect": "deployment"}.items():
            engine = connect(urls[name])
            assert table in sa.inspect(engine).get_table_names(), name
            engine.dispose()
        config = (stack.home / "stack" / "supervisord.conf").read_text()
        assert "s3cret" not in config
        assert "s3cret" not in " ".join(" ".join(p.cmdline()) for p in processes.marked(stack.home.resolve()))
        assert not list(stack.home.glob("*.db"))
        assert not list((stack.home / "prefect").glob("*.db"))
        assert stack("down") == (0, "down\n")
    finally:
        processes.end(stack.home.resolve(), grace=0)
    assert stack.nothing_left()
