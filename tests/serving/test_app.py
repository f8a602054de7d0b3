"""The server's application: what it answers, and what it refuses."""

import asyncio
import os
import subprocess
import sys

import httpx
import numpy as np
import pytest
from msgspec import structs

from tests.serving.made import SERVE, FakeServed, bundle
from trueup.serving import tokens
from trueup.serving.http.app import App
from trueup.serving.log_format import decoded, log_files, read_frames
from trueup.serving.tokens import Tokens

ROW = {"distance": 1400, "delay": 3.5, "carrier": "UA", "gate": "2", "hour": "2013-01-01T05:15:00", "flight": 1545}
PREDICT = "/v1/models/flights/predict"


class Server:
    """The application of one model, and requests to it."""

    def __init__(self, folder, loaded=None, **how):
        self.file = folder / "tokens.json"
        self.served = FakeServed(folder / "flights", loaded or bundle())
        self.app = App([self.served], Tokens(self.file, **how))
        self.headers = {}

    def ask(self, method, path, **how):
        return asyncio.run(self.asked(method, path, **how))

    async def asked(self, method, path, headers=None, **how):
        transport = httpx.ASGITransport(self.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers={**self.headers, **(headers or {})}, **how)

    def predict(self, body, **how):
        return self.ask("POST", PREDICT, json=body, **how)

    def as_(self, scope, name="me", **how):
        self.headers = {"Authorization": f"Bearer {tokens.add(self.file, name, scope, **how)}"}
        self.app._tokens._looked = float("-inf")
        return self

    def logged(self):
        self.app.close()
        return [decoded(p) for file in log_files(self.served.folder / "log") for p in read_frames(file).payloads]


@pytest.fixture
def server(tmp_path):
    return Server(tmp_path)


def test_a_row_is_answered_and_logged(server):
    answer = server.as_("record").predict({"row": ROW})
    assert answer.status_code == 200
    said = answer.json()
    (prediction,) = said.pop("predictions")
    assert said == {
        "model": "flights",
        "version": 7,
        "epoch": 3,
        "role": "champion",
        "logged": True,
        "recorded": True,
        "joinable": True,
    }
    assert prediction == {"id": prediction["id"], "prediction": 1.0, "missing": [], "unknown": []}
    (record,) = server.logged()
    assert (record.id, record.version, record.epoch, record.role) == (prediction["id"], 7, 3, "champion")
    assert record.key == {"carrier": "UA", "flight": 1545, "hour": "2013-01-01T05:15:00"}
    assert (record.event_time, record.prediction, record.recorded) == ("2013-01-01T05:15:00", 1.0, True)
    assert np.frombuffer(record.features).tolist() == [1400, 3.5, 1, 1, 1, 315]


def test_several_rows_say_what_is_missing_unknown_and_not_joinable(server):
    rows = [{**ROW, "distance": None, "carrier": "ZZ"}, {k: v for k, v in ROW.items() if k != "flight"}]
    said = server.predict({"rows": rows}).json()
    first, second = said["predictions"]
    assert (first["missing"], first["unknown"], first["joinable"]) == (["distance"], ["carrier"], True)
    assert (second["missing"], second["joinable"]) == ([], False)
    assert (said["joinable"], said["logged"], said["recorded"]) == (False, True, False)
    assert [(r.missing, r.recorded, r.key is None) for r in server.logged()] == [(1, False, False), (0, False, True)]


def test_a_test_is_never_of_record(server):
    said = server.as_("record").predict({"row": ROW}, headers={"Trueup-Test": "1"}).json()
    assert (said["logged"], said["recorded"]) == (True, False)
    assert [record.recorded for record in server.logged()] == [False]
    assert server.predict({"row": ROW}, headers={"Trueup-Test": "yes"}).status_code == 422


def test_classes_are_named(tmp_path):
    loaded = bundle(lambda features: np.tile([0.25, 0.75], (len(features), 1)))
    loaded.champion.classes = ("early", "late")
    server = Server(tmp_path, loaded)
    assert server.predict({"row": ROW}).json()["predictions"][0]["prediction"] == {"early": 0.25, "late": 0.75}
    assert server.logged()[0].prediction == [0.25, 0.75]


def test_personal_values_are_not_logged(tmp_path):
    server = Server(tmp_path, bundle(serve=structs.replace(SERVE, personal=("delay", "hour"))))
    server.predict({"row": ROW})
    assert np.isnan(np.frombuffer(server.logged()[0].features)).tolist() == [False, True, False, False, True, True]


def test_all_mistakes_are_a_problem(server):
    answer = server.predict({"row": {**ROW, "distance": "far", "dely": 1}})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    said = answer.json()
    assert (said["type"], said["status"]) == ("urn:trueup:problem:rows", 422)
    assert [error["where"] for error in said["errors"]] == ["rows[0].dely", "rows[0].distance"]


BAD = {
    b"": "is empty",
    b"{": "truncated",
    b'{"row": {"delay": NaN}}': "send null",
    b'{"row": {"delay": 1e999}}': "too large",
    b'{"row": {"carrier": "\xff"}}': "UTF-8",
    b'{"row": ' + b"[" * 5000: "nests too deeply",
    b'{"row": {"delay": 1, "delay": 2}}': "'delay' occurs twice",
    b'{"row": {"delay" : 1, "delay" :2, "carrier": "\\":\\":"}}': "'delay' occurs twice",
    b'{"row": {}, "row": {}}': "'row' occurs twice",
}


@pytest.mark.parametrize("body", BAD)
def test_bad_json_is_refused(server, body):
    answer = server.ask("POST", PREDICT, content=body, headers={"Content-Type": "application/json; charset=utf-8"})
    assert answer.status_code == 400
    assert BAD[body] in answer.json()["detail"]


WRONG = {
    "[]": "the body is a list, not an object",
    "{}": "the body has no rows",
    '{"row": {}, "rows": []}': "the body has both row and rows",
    '{"rows": []}': "rows is empty",
    '{"rows": {}}': "rows is an object, not a list",
    '{"rows": [1]}': "rows[0] is a number, not an object",
    '{"row": {"gate": {"a": 1}}}': "row.gate is an object",
    '{"rwo": {}}': "'rwo' is no part of a request; did you mean row?",
    '{"row": {}, "id": 7}': "id is a number, not a text",
    '{"row": {"hour": "2013-01-01"}, "id": ""}': "id has 0 characters",
}


@pytest.mark.parametrize("body", WRONG)
def test_what_is_no_request_is_refused(server, body):
    answer = server.ask("POST", PREDICT, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    said = [f"{error['where']} {error['what']}; {error['next']}" for error in answer.json()["errors"]]
    assert any(text.startswith(WRONG[body]) for text in said)


@pytest.mark.parametrize("shown", [True, False])
def test_bodies_are_in_the_servers_log_only_if_asked_for(tmp_path, caplog, shown):
    caplog.set_level("INFO", "trueup.serving")
    server = Server(tmp_path, bundle(serve=structs.replace(SERVE, log_bodies=shown)))
    server.predict({"row": {**ROW, "distance": "a secret"}})
    assert ("a secret" in caplog.text) == shown


def test_too_much_is_refused(server):
    assert server.predict({"rows": [ROW] * 51}).status_code == 413
    assert server.predict({"row": {**ROW, "carrier": "x" * 70_000}}).status_code == 413


def test_other_types_methods_and_addresses_are_refused(server):
    form = server.ask("POST", PREDICT, data={"a": 1})
    assert (form.status_code, form.headers["accept"]) == (415, "application/json")
    zipped = server.predict({"row": ROW}, headers={"Content-Encoding": "gzip"})
    assert zipped.status_code == 415
    wrong = server.ask("GET", PREDICT)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert "did you mean flights?" in server.ask("POST", "/v1/models/flihgts/predict", json={}).json()["detail"]
    assert server.ask("GET", "/v2").status_code == 404


def test_a_mistake_of_the_server_is_a_500_whose_number_is_in_its_log(tmp_path, caplog):
    def broken(_):
        raise RuntimeError("the graph is broken")

    server = Server(tmp_path, bundle(broken))
    answer = server.predict({"row": ROW})
    assert answer.status_code == 500
    (number,) = [w for w in answer.json()["detail"].split() if len(w.strip(";")) == 8 and w.strip(";").isalnum()]
    assert f"mistake {number.strip(';')}" in caplog.text
    assert "the graph is broken" not in answer.text
    assert [record.error for record in server.logged()] == ["RuntimeError"]


def test_a_prediction_that_is_not_finite_is_no_answer(tmp_path):
    server = Server(tmp_path, bundle(lambda features: np.where(features[:, :1] > 0, np.nan, 0.5)))
    answer = server.predict({"rows": [{**ROW, "distance": -1}, ROW]})
    assert (answer.status_code, answer.json()["errors"][0]["where"]) == (422, "rows[1]")
    logged = [(r.prediction, r.error, r.recorded) for r in server.logged()]
    assert logged == [(0.5, None, False), (None, "non_finite", False)]  # nobody was given the first one


def test_without_a_bundle_a_model_is_live_and_not_ready(tmp_path):
    server = Server(tmp_path)
    server.served.current, server.served.failure = None, "state is missing"
    assert server.ask("GET", "/health/live").status_code == 200
    ready = server.ask("GET", "/health/ready")
    assert (ready.status_code, ready.json()["detail"]) == (503, "flights: state is missing")
    refused = server.predict({"row": ROW})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


def test_repeated_requests_are_predicted_once(server):
    first = server.predict({"row": ROW, "id": "a"})
    again = server.predict({"row": ROW, "id": "a"})
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    by_header = server.predict({"row": ROW}, headers={"Idempotency-Key": "a"})
    assert (by_header.status_code, by_header.json()["type"]) == (422, "urn:trueup:problem:key-reused")
    assert [record.idempotency for record in server.logged()] == ["a"]


def test_a_full_log_refuses_what_is_of_record_and_answers_the_rest(tmp_path):
    full = bundle(serve=structs.replace(SERVE, log_mib=1e-6))
    server = Server(tmp_path, full).as_("record")
    refused = server.predict({"row": ROW})
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
    assert server.as_("predict", "other").predict({"row": ROW}).json()["logged"] is False
    server = Server(tmp_path, bundle(serve=structs.replace(SERVE, log_mib=1e-6, on_full="serve"))).as_(
        "record", "third"
    )
    said = server.predict({"row": ROW}).json()
    assert (said["logged"], said["recorded"]) == (False, False)
    assert 'trueup_log_unlogged_total{model="flights"} 1.0' in server.ask("GET", "/metrics").text


def test_more_requests_than_the_queue_holds_are_refused(tmp_path):
    server = Server(tmp_path, bundle(serve=structs.replace(SERVE, durability="machine", queue=3)))

    async def many():
        return await asyncio.gather(*(server.asked("POST", PREDICT, json={"row": ROW}) for _ in range(8)))

    codes = [answer.status_code for answer in asyncio.run(many())]
    assert sorted(codes) == [200] * 3 + [503] * 5
    assert server.app.predictors["flights"].held == 0


def test_a_body_that_does_not_come_is_not_waited_for(server, monkeypatch):
    monkeypatch.setattr("trueup.serving.http.app.BODY_SECONDS", 0.05)
    sent = []

    async def stalled():
        scope = {
            "type": "http",
            "method": "POST",
            "path": PREDICT,
            "query_string": b"",
            "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
        }

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        await server.app(scope, receive, send)

    asyncio.run(stalled())
    assert sent[0]["status"] == 408


def test_who_may_ask(tmp_path):
    server = Server(tmp_path)
    assert server.predict({"row": ROW}).status_code == 200
    stranger = server.predict({"row": ROW}, headers={"Host": "evil.example"})
    assert stranger.status_code == 421
    server.as_("predict", rate=2)
    assert server.predict({"row": ROW}, headers={"Host": "evil.example"}).status_code == 200
    server.headers["Authorization"] += "x"
    wrong = server.predict({"row": ROW})
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Bearer")
    assert server.ask("GET", "/health/live").status_code == 200
    server.headers = {}
    assert {server.ask("GET", path).status_code for path in ("/metrics", "/v1/models", "/v1/models/flights")} == {401}


def test_a_token_that_asks_too_often_waits(server):
    server.as_("predict", rate=2)
    codes = [server.ask("GET", "/v1/models").status_code for _ in range(4)]
    assert codes[:2] == [200, 200]
    assert 429 in codes[2:]


def test_models_say_what_answers_and_how_current_it_is(server):
    server.served.unreachable_since = 1_764_000_000.0
    said = server.ask("GET", "/v1/models/flights").json()
    assert (said["version"], said["epoch"], said["phase"], said["ready"]) == (7, 3, "champion", True)
    assert said["ledger"] == "unreachable since 2025-11-24T16:00:00+00:00"
    assert server.ask("GET", "/v1/models").json()["models"][0]["model"] == "flights"


def test_figures_are_those_of_the_requests(server):
    server.predict({"row": {**ROW, "carrier": "ZZ", "delay": None}})
    server.predict({"row": {"hour": 1}})
    said = server.ask("GET", "/metrics").text
    for line in (
        'trueup_requests_total{code="200",model="flights"} 1.0',
        'trueup_requests_total{code="422",model="flights"} 1.0',
        'trueup_predictions_total{model="flights",role="champion",version="7"} 1.0',
        'trueup_inputs_missing_total{input="delay",model="flights"} 1.0',
        'trueup_inputs_unknown_total{input="carrier",model="flights"} 1.0',
        'trueup_epoch{model="flights"} 3.0',
        'trueup_swaps_total{model="flights",outcome="loaded"} 1.0',
    ):
        assert line in said.splitlines()
    assert 'trueup_log_lag_seconds{model="flights"}' in said


SHARED = """
import asyncio, sys
from pathlib import Path
from tests.serving.test_app import PREDICT, ROW, Server
server = Server(Path(sys.argv[1]))

async def live():
    messages, sent = asyncio.Queue(), []
    async def send(message):
        sent.append(message)
    server.app_task = asyncio.create_task(server.app({"type": "lifespan"}, messages.get, send))
    await messages.put({"type": "lifespan.startup"})
    for _ in range(3):
        await server.asked("POST", PREDICT, json={"rows": [ROW] * 50})
    if len(sys.argv) > 2:
        print((await server.asked("GET", "/metrics")).text)
    await messages.put({"type": "lifespan.shutdown"})
    await server.app_task
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

asyncio.run(live())
"""


def test_workers_add_up_their_figures(tmp_path):
    (tmp_path / "figures").mkdir()
    given = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "figures"),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    for words in ([], ["last"]):
        command = [sys.executable, "-c", SHARED, str(tmp_path), *words]
        said = subprocess.run(command, env=given, capture_output=True, text=True, timeout=120, check=True).stdout
    lines = said.splitlines()
    assert 'trueup_requests_total{code="200",model="flights"} 6.0' in lines
    assert any(line.startswith('trueup_drift_psi{input="delay",model="flights"} ') for line in lines)  # of 300 rows
    assert 'trueup_epoch{model="flights"} 3.0' in lines
    assert 'trueup_swaps_total{model="flights",outcome="loaded"} 2.0' in lines
    assert 'trueup_rollout_tripped{model="flights"} 0.0' in lines
