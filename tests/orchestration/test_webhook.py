"""MLflow's webhooks: only signed ones count, and a changed alias is put right at once."""

import base64
import hashlib
import hmac
import json
import os
import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
import uvicorn

from tests import streams
from tests.story import PLAIN, Story
from trueup.config.settings import Settings
from trueup.orchestration.stack.reports import application
from trueup.orchestration.stack.services import Layout
from trueup.orchestration.stack.webhook import PATH, Inbox, encryption_key, refused, register, webhook_secret

SECRET = "a secret of the tests"
NOW = 1_700_000_000


def delivery(content, secret=SECRET, moment=NOW, name="d1"):
    """Headers and body, as MLflow's server makes them."""
    body = json.dumps(content).encode()
    signed = hmac.new(secret.encode(), f"{name}.{moment}.".encode() + body, hashlib.sha256).digest()
    headers = {
        "X-MLflow-Delivery-Id": name,
        "X-MLflow-Timestamp": str(moment),
        "X-MLflow-Signature": f"v1,{base64.b64encode(signed).decode()}",
    }
    return headers, body


def changed(version="7", alias="champion", name="toy", action="created"):
    data = {"name": name, "alias": alias} | ({"version": version} if action == "created" else {})
    return {"entity": "model_version_alias", "action": action, "timestamp": "x", "data": data}


def test_what_mlflow_signs_is_accepted_and_nothing_else():
    from mlflow.webhooks.delivery import _generate_hmac_signature

    headers, body = delivery(changed())
    assert headers["X-MLflow-Signature"] == _generate_hmac_signature(SECRET, "d1", str(NOW), body.decode())
    given = {name.lower(): value for name, value in headers.items()}
    assert refused(SECRET, given, body, NOW + 299) is None
    assert "signed more than 300 s ago" in refused(SECRET, given, body, NOW + 301)
    assert "wrong" in refused("another secret of 16", given, body, NOW)
    assert "wrong" in refused(SECRET, given, body + b" ", NOW)
    for name in given:
        assert "wrong" in refused(SECRET, {**given, name: "x"}, body, NOW)
        assert "wrong" in refused(SECRET, {k: v for k, v in given.items() if k != name}, body, NOW)


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def served(app):
    """An application on a port of this machine; its address."""
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(10)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """The reports' server with a model whose champion is version 3, and the models that were checked."""
    configs = streams.write(tmp_path, streams.Stream(days=1).frame())
    settings = Settings(home=str(tmp_path / "home"), configs=configs, webhook_secret=SECRET)
    checked = []
    inbox = Inbox(settings, lambda model: checked.append(model) or 3, clock=lambda: NOW)
    ledger = SimpleNamespace(champion=lambda model: SimpleNamespace(version=3) if model == "toy" else None)
    monkeypatch.setattr(
        "trueup.orchestration.stack.webhook.Home", lambda *_, **__: SimpleNamespace(ledger=ledger, close=lambda: None)
    )
    app = application(tmp_path / "home" / "reports", token="a token", inbox=inbox)
    with served(app) as address, httpx.Client(base_url=address, trust_env=False) as client:
        yield client, checked


def sent(client, content, **named):
    headers, body = delivery(content, **named)
    return client.post(PATH, content=body, headers=headers)


def test_a_changed_alias_has_its_model_checked(server):
    client, checked = server
    answer = sent(client, changed())
    assert (answer.status_code, answer.json()) == (202, {"detail": "toy is checked"})
    until(lambda: checked == ["toy"])
    assert sent(client, changed(action="deleted"), name="d2").status_code == 202
    until(lambda: checked == ["toy", "toy"])
    again = sent(client, changed())
    assert (again.status_code, again.json()) == (200, {"detail": "delivered before"})


def test_a_delivery_that_failed_is_taken_when_mlflow_repeats_it(server, monkeypatch):
    """MLflow repeats a delivery after an answer of 503, with the same id."""
    client, checked = server
    with monkeypatch.context() as broken:

        def fails(*_, **__):
            raise OSError("the ledger is locked")

        broken.setattr("trueup.orchestration.stack.webhook.Home", fails)
        assert sent(client, changed()).status_code == 503
    assert sent(client, changed()).status_code == 202
    until(lambda: checked == ["toy"])


def test_what_is_no_change_of_ours_is_answered_and_left_alone(server):
    client, checked = server
    contents = [
        changed(version="3"),  # as the ledger has it: Trueup's own change
        changed(alias="candidate"),
        changed(name="unknown"),
        {"entity": "registered_model", "action": "created", "data": {"name": "toy"}},
    ]
    for number, content in enumerate(contents):
        answer = sent(client, content, name=f"d{number}")
        assert (answer.status_code, answer.json()) == (200, {"detail": "nothing to do"})
    assert sent(client, ["no", "event"], name="x").status_code == 400
    assert checked == []


def test_without_a_good_signature_nothing_is_read(server):
    client, checked = server
    assert client.post(PATH, json=changed()).status_code == 401
    assert sent(client, changed(), secret="another secret of 16").status_code == 401
    assert sent(client, changed(), moment=NOW - 400).status_code == 401
    assert client.post(PATH, content=b"x" * 70_000).status_code == 413
    assert client.get("/").status_code == 401, "pages still need the token"
    assert checked == []


def test_the_secrets_are_made_once_and_for_their_owner_only(tmp_path, monkeypatch):
    settings = Settings(home=str(tmp_path / "home"))
    first = webhook_secret(settings)
    assert len(first) == 64
    assert webhook_secret(settings) == first
    assert encryption_key(settings) == encryption_key(settings)
    assert {oct(f.stat().st_mode & 0o777) for f in (tmp_path / "home" / "stack").iterdir()} == {"0o600"}
    monkeypatch.setenv("TRUEUP_WEBHOOK_SECRET", "short")
    with pytest.raises(Exception, match="TRUEUP_WEBHOOK_SECRET"):
        Settings()


@pytest.fixture
def mlflow_server(tmp_path):
    """MLflow's server as the stack starts it, on the home of the test."""
    port = free_port()
    layout = Layout(Settings(home=str(tmp_path / "home"), configs=tmp_path / "configs", mlflow_port=port), tmp_path)
    command, more = layout.command("mlflow")
    log = (tmp_path / "mlflow.log").open("w")
    process = subprocess.Popen(command, env={**os.environ, **more}, stdout=log, stderr=log, start_new_session=True)
    try:
        yield layout.address("mlflow")
    finally:
        os.killpg(process.pid, 15)
        process.wait(60)
        log.close()


def answers(url):
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.thorough
def test_an_alias_that_somebody_moves_in_mlflow_is_put_right_at_once(tmp_path, mlflow_server, monkeypatch):
    story = Story(tmp_path, streams.Stream(days=49).frame(), PLAIN)
    assert story.turn(6).decided.outcome == "promoted"
    version = story.model.champion().version
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(story.configs))
    until(lambda: answers(f"{mlflow_server}/health"), 300)
    settings = Settings()
    app = application(tmp_path / "home" / "reports", inbox=Inbox(settings))
    api, alias = f"{mlflow_server}/api/2.0/mlflow", {"name": "toy", "alias": "champion"}
    other = str(next(v.version for v in story.home.registry.versions("toy") if v.version != version))
    with served(app) as address:
        for _ in range(2):  # a second start corrects the registered one
            assert "tells" in register(mlflow_server, address + PATH, webhook_secret(settings), "trueup-test")
        assert len(httpx.get(f"{api}/webhooks", trust_env=False).json()["webhooks"]) == 1
        moved = httpx.post(f"{api}/registered-models/alias", json={**alias, "version": other}, trust_env=False)
        moved.raise_for_status()
        assert story.home.registry.champion_alias("toy") == int(other)
        until(lambda: story.home.registry.champion_alias("toy") == version, 300)
        gone = httpx.request("DELETE", f"{api}/registered-models/alias", json=alias, trust_env=False)
        gone.raise_for_status()
        assert story.home.registry.champion_alias("toy") is None
        until(lambda: story.home.registry.champion_alias("toy") == version, 300)


def test_a_server_without_webhooks_is_told_and_not_an_error(answering):
    server = answering(201)
    server.server.RequestHandlerClass.do_GET = lambda handler: handler.send_error(404)
    said = register(server.url, "http://127.0.0.1:1/webhooks/mlflow", SECRET, "trueup")
    assert said.endswith("has no webhooks; `trueup reconcile` finds changed aliases")
