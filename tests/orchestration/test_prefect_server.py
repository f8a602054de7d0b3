"""The stack's Prefect server, as pages of other sites find it: what they may ask it in a visitor's browser."""

import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.sync.client import connect

from tests.free import free_port
from tests.stack import ROOT, answers, until
from trueup.config.settings import Settings
from trueup.orchestration.stack.services import PREFECT, Layout

FOREIGN = "https://elsewhere.example"
ASK = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("server"), prefect_port=free_port())
    layout = Layout(settings, ROOT)
    given = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    command, more = layout.command(PREFECT)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**layout.environment(given), **more},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        until(lambda: answers(settings.prefect_port, "/api/health"), 120)
        yield settings.prefect_port
    finally:
        process.terminate()
        process.wait(30)


def ask(port, path="/api/flow_runs/filter", body=b"{}", **headers):
    """Status and headers of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.headers


def said(port, path, body):
    """What one of this machine's programs is answered."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api{path}", json.dumps(body).encode(), ASK)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def event(number):
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    named = f"00000000-0000-4000-8000-00000000000{number}"
    return {"id": named, "occurred": now, "event": f"trueup.test.{number}", "resource": {"prefect.resource.id": "toy"}}


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_its_own_pages_and_programs_are_answered(port, name):
    origin = f"http://{name}:{port}"
    status, headers = ask(port, Origin=origin, Host=f"{name}:{port}", **ASK)
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, origin)
    assert ask(port, **ASK)[0] == 200


@pytest.mark.parametrize("origin", [FOREIGN, "null", "http://127.0.0.1:1"])
def test_a_page_of_another_origin_can_neither_read_nor_do_anything(port, origin):
    """Also what a browser sends without asking first: no content type, or none that needs leave."""
    for headers in ({}, ASK, {"Content-Type": "text/plain"}):
        status, answered = ask(port, Origin=origin, **headers)
        assert status == 403
        assert answered["Access-Control-Allow-Origin"] is None


def test_a_name_that_was_made_to_mean_this_machine_is_refused(port):
    assert ask(port, Host=f"elsewhere.example:{port}", **ASK)[0] == 400
    assert ask(port, "/", None, Host="elsewhere.example")[0] == 400


def test_a_page_of_another_origin_can_raise_no_event(port):
    """A socket is opened without asking for leave, whatever the origin."""

    def raised():
        return [e["event"] for e in said(port, "/events/filter", {"filter": {"resource": {"id": ["toy"]}}})["events"]]

    address = f"ws://127.0.0.1:{port}/api/events/in"
    with suppress(InvalidHandshake, ConnectionClosed), connect(address, origin=FOREIGN) as socket:
        socket.send(json.dumps(event(1)))
    with connect(address) as socket:
        socket.send(json.dumps(event(2)))
    until(raised, 30)
    assert raised() == ["trueup.test.2"]


def test_its_own_automations_act(port):
    """They ask the server from within, under a name that is none of this machine's."""
    flow = said(port, "/flows/", {"name": "a flow"})["id"]
    deployment = said(port, "/deployments/", {"name": "a deployment", "flow_id": flow})["id"]
    trigger = {"type": "event", "posture": "Reactive", "expect": ["trueup.test.3"], "threshold": 1, "within": 0}
    action = {"type": "run-deployment", "deployment_id": deployment}
    said(port, "/automations/", {"name": "an automation", "trigger": trigger, "actions": [action]})
    time.sleep(2)  # until the server listens for it
    with connect(f"ws://127.0.0.1:{port}/api/events/in") as socket:
        socket.send(json.dumps(event(3)))
    until(lambda: said(port, "/flow_runs/filter", {}), 30)
