"""A stack that asks who is there: started with passwords, and refused without them at an address that others reach."""

import json
import urllib.error
import urllib.request

import pytest

from tests.stack import Stack, until
from trueup.orchestration.recovery import processes
from trueup.orchestration.stack.access import authorization, bearer

pytestmark = pytest.mark.thorough

AUTH = {"PREFECT_SERVER_API_AUTH_STRING": "trueup:canary-of-the-stack"}
TOKEN = "canary-of-the-reports"


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    more = {
        "TRUEUP_REPORTS": "false",
        "TRUEUP_WITHOUT": "mlflow,evidently,serve",
        "TRUEUP_REPORTS_TOKEN": TOKEN,
        **AUTH,
    }
    stack = Stack(tmp_path_factory.mktemp("guarded") / "home", more=more)
    yield stack
    processes.end(stack.home.resolve(), grace=0)


def status_of(url, headers, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read() or b"null") if body is not None else None
    except urllib.error.HTTPError as error:
        return error.code, None


def test_an_address_that_others_reach_is_refused_before_anything_is_started(tmp_path):
    open_to_all = Stack(tmp_path / "home", more={"TRUEUP_HOST": "192.0.2.7"})
    code, said = open_to_all("up", "--detach")
    assert code == 2, said
    assert "prefect has no authentication" in said
    assert open_to_all.nothing_left()
    assert not (tmp_path / "home" / "stack").exists()


def test_servers_ask_who_is_there_and_flows_say_it(stack):
    assert stack.up()["ready"]  # the worker beats and everything is deployed: both were let in
    api = f"http://127.0.0.1:{stack.ports['prefect']}/api"
    assert status_of(f"{api}/deployments/filter", {}, {})[0] == 401
    assert (
        status_of(f"{api}/deployments/filter", authorization({"PREFECT_API_AUTH_STRING": "trueup:wrong"}), {})[0] == 401
    )
    code, deployments = status_of(f"{api}/deployments/filter", authorization(AUTH), {})
    assert code == 200
    assert deployments
    reports = f"http://127.0.0.1:{stack.ports['reports']}/"
    assert status_of(reports, {})[0] == 401
    assert status_of(reports, bearer(TOKEN))[0] == 200

    named = next(d["id"] for d in deployments if d["entrypoint"] == "flows.score:score")
    asked = {"parameters": {"model": "flight_delays", "as_of": "2013-01-15"}}
    _, run = status_of(f"{api}/deployments/{named}/create_flow_run", authorization(AUTH), asked)

    def ended():
        found = status_of(f"{api}/flow_runs/filter", authorization(AUTH), {"flow_runs": {"id": {"any_": [run["id"]]}}})[
            1
        ][0]
        return found["state"] if found["state"]["type"] in {"FAILED", "COMPLETED"} else None

    assert "NoData" in until(ended)["message"]  # it ran, and reported

    assert stack("down") == (0, "down\n")
    assert stack.nothing_left()
    for file in stack.home.rglob("*"):
        if file.is_file():
            assert b"canary-of-the" not in file.read_bytes(), file
