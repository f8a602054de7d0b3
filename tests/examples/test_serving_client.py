"""The example client retries what may succeed later, with the same key, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.free import free_port

FILE = Path(__file__).parents[2] / "examples" / "serving_client.py"
PREDICTED = {"model": "toy", "predictions": [{"id": "1", "prediction": 0.25}]}


@pytest.fixture
def client_module():
    spec = importlib.util.spec_from_file_location("serving_client", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server():
    """Answers in turn what a test says: a status with headers and content, or None for a connection that is cut."""
    script, asked = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, dict(self.headers), body))
            if (step := script.pop(0)) is None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True
                return
            status, headers, content = step
            data = json.dumps(content).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:  # connections that are cut are part of the tests
            pass

    started = Server(("127.0.0.1", 0), Handler)
    Thread(target=started.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{started.server_port}", script, asked
    started.shutdown()
    started.server_close()


@pytest.fixture
def asking(client_module, server):
    """Makes clients of the server, and the list of how long they waited."""
    made, waits = [], []

    def ask(url=server[0], **options):
        made.append(client_module.ServingClient(url, "toy", "secret", sleep=waits.append, **options))
        return made[-1]

    yield ask, waits
    for client in made:
        client._http.close()


def test_all_attempts_are_the_same_request(server, asking):
    (_, script, asked), (ask, waits) = server, asking
    script += [None, (503, {}, {}), (502, {}, {}), (200, {}, PREDICTED)]
    assert ask().predict([{"x": 1.5, "when": "2024-01-01T10:00:00", "z": None}]) == PREDICTED
    assert len(asked) == 4
    assert len({(path, headers["Idempotency-Key"], body) for path, headers, body in asked}) == 1
    path, headers, body = asked[0]
    assert (path, headers["Authorization"]) == ("/v1/models/toy/predict", "Bearer secret")
    assert json.loads(body) == {"rows": [{"x": 1.5, "when": "2024-01-01T10:00:00", "z": None}]}
    assert all(0 <= wait <= 0.1 * 2**number for number, wait in enumerate(waits))


def test_two_requests_have_two_keys_and_a_caller_may_give_its_own(server, asking):
    (_, script, asked), (ask, _) = server, asking
    script += [(200, {}, PREDICTED)] * 3
    client = ask()
    client.predict([{}])
    client.predict([{}])
    client.predict([{}], "order 7")
    keys = [headers["Idempotency-Key"] for _, headers, _ in asked]
    assert len(set(keys)) == 3
    assert keys[2] == "order 7"


def test_it_waits_as_long_as_the_server_asks(server, asking):
    (_, script, _), (ask, waits) = server, asking
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    script += [(429, {"Retry-After": "7"}, {}), (503, {"Retry-After": later}, {}), (200, {}, PREDICTED)]
    assert ask().predict([{}]) == PREDICTED
    assert 7 <= waits[0] <= 7.7
    assert 15 < waits[1] <= 22


def test_a_mistake_of_the_caller_is_not_retried_and_told_in_full(client_module, server, asking):
    (_, script, asked), (ask, waits) = server, asking
    errors = [{"where": "rows[0].dest", "what": "is 5, a number", "next": "give a text"}]
    script.append((422, {}, {"title": "rows that cannot be predicted", "detail": "1 mistake", "errors": errors}))
    with pytest.raises(client_module.Refused, match=r"422 .*rows\[0\]\.dest: is 5, a number; give a text") as refused:
        ask().predict([{"dest": 5}])
    assert refused.value.status == 422
    assert (len(asked), waits) == (1, [])


def test_it_gives_up_at_the_deadline_and_says_why(client_module, server, asking):
    (_, script, asked), (ask, waits) = server, asking
    script.append((503, {"Retry-After": "60"}, {"title": "the queue is full"}))
    with pytest.raises(client_module.Unavailable, match=r"1 attempts in 5 s.*queue is full"):
        ask(deadline=5).predict([{}])
    assert (len(asked), waits) == (1, [])
    with pytest.raises(client_module.Unavailable, match="ConnectError"):
        ask(f"http://127.0.0.1:{free_port()}", deadline=0.01).predict([{}])


def test_a_number_that_json_does_not_have_is_the_callers_mistake(asking):
    with pytest.raises(ValueError, match="JSON"):
        asking[0]().predict([{"x": float("nan")}])
