"""`trueup deploy`: a project on the Prefect server of an environment, and one run there."""

import contextlib
import json
import os
import subprocess
import sys
import urllib.request

import httpx
import pytest

from tests.free import free_port
from tests.stack import until
from trueup.config.environments import choose
from trueup.orchestration.stack.deploy import TEMPLATE, _here, _kinds, _with_configs, _within
from trueup.orchestration.stack.health import post
from trueup.project.choices import Choices
from trueup.project.init import write_project

STAGING = """
variables: {TRUEUP_HOME: "${STAGING_HOME}", PREFECT_API_URL: "${STAGING_PREFECT}"}
work_pool: staging
schedules: false
overrides: {train.trials: 2}
"""


@pytest.fixture
def shop(tmp_path, prefect_server):
    """A project, and what runs a command of it in staging."""
    project = write_project(tmp_path / "shop", Choices("shop")).folder
    (project / "environments" / "staging.yaml").write_text(STAGING)
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_API_URL"))}
    there = {"STAGING_HOME": str(tmp_path / "home"), "STAGING_PREFECT": prefect_server, "OMP_NUM_THREADS": "1"}
    environment = {**outside, **there, "PREFECT_HOME": str(tmp_path / "prefect")}

    def trueup(*words):
        command = [sys.executable, "-m", "trueup", *words]
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    trueup.project, trueup.environment = project, environment
    return trueup


def test_what_an_environment_says_is_in_each_deployment_and_in_no_other(tmp_path):
    project = write_project(tmp_path / "shop", Choices("shop")).folder
    (project / "environments" / "staging.yaml").write_text(STAGING)
    content, _ = _with_configs(project / "prefect.yaml", project / "configs")
    before = json.dumps(content)
    changed = _within(content, choose(project, "staging"))
    assert {d["work_pool"]["name"] for d in changed["deployments"]} == {"staging"}
    assert {d["work_pool"]["job_variables"]["env"]["TRUEUP_ENV"] for d in changed["deployments"]} == {"staging"}
    assert not any(s["active"] for d in changed["deployments"] for s in d.get("schedules", []))
    assert json.dumps(content) == before
    assert _kinds(content) == {"local": "process"}


def test_a_stack_on_this_machine_starts_the_runs_of_a_cluster_here(tmp_path):
    project = write_project(tmp_path / "cluster", Choices("shop", deploy="kubernetes")).folder
    content, _ = _with_configs(project / "prefect.yaml", project / "configs")
    assert _kinds(content) == {"kubernetes": "kubernetes"}
    assert content["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    here = _here(content)
    assert _kinds(here) == {"local": "process"}
    assert "pull" not in here
    assert "TRUEUP_IMAGE" not in json.dumps(here["deployments"])
    plain, _ = _with_configs(write_project(tmp_path / "plain", Choices("shop")).folder / "prefect.yaml", tmp_path)
    assert _here(plain) == plain


@pytest.mark.thorough
def test_deployments_of_an_environment_differ_in_what_its_file_says(shop, prefect_server):
    post(f"{prefect_server}/work_pools/", {"name": "staging", "type": "process", "description": "the user's"})
    done = shop("--env", "staging", "deploy")
    assert done.returncode == 0, done.stderr
    (pool,) = [p for p in post(f"{prefect_server}/work_pools/filter", {}) if p["name"] == "staging"]
    assert pool["description"] == "the user's", "a pool that is there stays as it is"
    (run,) = [
        d
        for d in post(
            f"{prefect_server}/deployments/filter", {"deployments": {"tags": {"all_": ["trueup", "example"]}}}
        )
        if d["entrypoint"] == "flows.run:run"
    ]
    assert run["work_pool_name"] == "staging"
    assert run["job_variables"]["env"] == {"TRUEUP_ENV": "staging"}
    assert [schedule["active"] for schedule in run["schedules"]] == [False]
    wrong = shop("--env", "staging", "deploy", "--smoke", "exampel")
    assert wrong.returncode == 2
    assert "run/exampel is not deployed" in wrong.stderr


@pytest.fixture
def second_server(tmp_path):
    """The address of a further Prefect server, that of production."""
    port, home = free_port(), tmp_path / "second"
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_API")}
    database = f"sqlite+aiosqlite:///{home}/prefect.db"
    home.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"],
        env={**outside, "PREFECT_HOME": str(home), "PREFECT_SERVER_DATABASE_CONNECTION_URL": database},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def answers():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health") as answer:
            return answer.status == 200
        return False

    try:
        until(answers)
        yield f"http://127.0.0.1:{port}/api"
    finally:
        server.terminate()
        until(lambda: server.poll() is not None)


@pytest.mark.thorough
def test_code_that_is_deployed_to_production_leaves_staging_as_it_is(shop, prefect_server, second_server, tmp_path):
    production = STAGING.replace("STAGING", "PROD").replace("work_pool: staging", "work_pool: prod")
    (shop.project / "environments" / "prod.yaml").write_text(production.replace("schedules: false", "schedules: true"))
    shop.environment |= {"PROD_HOME": str(tmp_path / "prod"), "PROD_PREFECT": second_server}

    def deployed(server):
        answer = httpx.post(f"{server}/deployments/filter", json={}, timeout=60, trust_env=False).raise_for_status()
        return {d["name"]: d for d in answer.json() if "trueup" in d["tags"]}

    until(lambda: shop("--env", "staging", "deploy").returncode == 0)  # a busy machine's server may answer too late
    before = deployed(prefect_server)
    assert deployed(second_server) == {}
    until(lambda: shop("--env", "prod", "deploy").returncode == 0)
    there = deployed(second_server)
    assert there.keys() == before.keys()
    assert {d["entrypoint"] for d in there.values()} == {d["entrypoint"] for d in before.values()}
    assert {(d["work_pool_name"], d["job_variables"]["env"]["TRUEUP_ENV"]) for d in there.values()} == {
        ("prod", "prod")
    }
    assert deployed(prefect_server) == before


@pytest.mark.thorough
def test_a_work_pool_of_kubernetes_is_made_from_the_projects_template(shop, prefect_server, tmp_path):
    project = write_project(tmp_path / "cluster", Choices("shop", deploy="kubernetes")).folder
    (project / "environments" / "staging.yaml").write_text(STAGING.replace("work_pool: staging", "work_pool: cluster"))
    image = {"TRUEUP_IMAGE": "registry.local/shop@sha256:" + 64 * "a", "TRUEUP_NAMESPACE": "shop-staging"}

    def deploy(**more):
        command = [sys.executable, "-m", "trueup", "deploy", "--env", "staging", "--json"]
        environment = {**shop.environment, **more}
        return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)

    missing = deploy()
    assert missing.returncode == 2
    assert "prefect.yaml: {{ $TRUEUP_IMAGE }}, {{ $TRUEUP_NAMESPACE }} is not set" in missing.stderr
    done = deploy(**image)
    assert done.returncode == 0, done.stderr
    template = json.loads((project / TEMPLATE).read_text())
    (pool,) = [p for p in post(f"{prefect_server}/work_pools/filter", {}) if p["name"] == "cluster"]
    assert (pool["type"], pool["base_job_template"]) == ("kubernetes", template)
    (run,) = [
        d for d in post(f"{prefect_server}/deployments/filter", {}) if d["entrypoint"] == "flows.reconcile:reconcile"
    ]
    assert run["work_pool_name"] == "cluster"
    assert {k: v for k, v in run["job_variables"].items() if k != "command"} == {
        "image": image["TRUEUP_IMAGE"],
        "namespace": "shop-staging",
        "env": {"TRUEUP_ENV": "staging"},
    }
    template["variables"]["properties"]["memory_request"]["default"] = "4Gi"
    (project / TEMPLATE).write_text(json.dumps(template))
    again = deploy(**image)
    assert json.loads(again.stdout)["deployed"]["outdated"] == ["cluster"]
    assert "prefect work-pool update cluster --base-job-template deploy/work-pool.json" in again.stderr


@pytest.mark.thorough
def test_a_run_of_a_worker_acts_in_the_environment_of_its_deployment(shop, tmp_path):
    assert shop("--env", "staging", "deploy").returncode == 0
    environment = {**shop.environment, "PREFECT_API_URL": shop.environment["STAGING_PREFECT"]}
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "staging", "--name", "of the test"],
        env=environment,
    )
    try:
        done = shop("--env", "staging", "deploy", "--smoke", "example", "--wait", "400", "--json")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "home" / "trueup.db").is_file()
        assert not (shop.project / ".trueup").exists()
    finally:
        worker.terminate()
        until(lambda: worker.poll() is not None)


def test_without_a_server_or_a_project_the_next_step_is_said(tmp_path):
    """In a process of its own, because the tests' Prefect may know a server."""
    project = write_project(tmp_path / "shop", Choices("shop")).folder
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_"))}
    for folder, message in (
        (project, "no Prefect server is configured; set PREFECT_API_URL"),
        (tmp_path, "no prefect.yaml"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "trueup", "deploy"],
            cwd=folder,
            env={**outside, "PREFECT_HOME": str(tmp_path / "prefect")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2
        assert message in " ".join(done.stderr.split())
