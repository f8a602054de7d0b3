"""Whatever a client sends gets an answer or a problem, never a 500, within bounds of memory; what is answered was read right.

The requests are drawn by Hypothesis and go to the application as ASGI brings them, some over sockets through uvicorn.
"""

from __future__ import annotations

import asyncio
import gc
import json
import math
import random
import socket
import threading
import time
import tracemalloc

import msgspec
import pytest
import uvicorn
from hypothesis import example, given
from hypothesis import strategies as st

from tests.free import free_port
from tests.serving.made import FIELDS, FakeServed, bundle
from trueup.serving.http.app import App
from trueup.serving.http.connection import Connection
from trueup.serving.tokens import Tokens

PREDICT = "/v1/models/flights/predict"
ROW = {"distance": 1400, "delay": 3.5, "carrier": "UA", "gate": "2", "hour": "2013-01-01T05:15:00", "flight": 1545}
BODY = json.dumps({"rows": [ROW, {**ROW, "distance": None, "carrier": "ZZ"}], "id": None}).encode()
LONGEST_ANSWER = 64 * 1024  # bytes, for bodies of at most 64 KiB


class Application:
    """The application of one model in an event loop of its own, and requests to it."""

    def __init__(self, folder):
        self.app = App([FakeServed(folder / "flights", bundle())], Tokens(folder / "tokens.json"))
        self.runner = asyncio.Runner()

    def close(self):
        self.app.close()
        self.runner.close()

    def ask(self, body, path=PREDICT, method="POST", headers=(), query=b"", chunks=1):
        """Send a request, its body in some chunks; returns status, headers and body of the answer."""
        size = max(math.ceil(len(body) / chunks), 1)
        parts = [body[at : at + size] for at in range(0, max(len(body), 1), size)]
        named = [(b"host", b"localhost"), (b"content-type", b"application/json"), *headers]
        scope = {"type": "http", "method": method, "path": path, "query_string": query, "headers": named}
        sent = []

        async def receive():
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        async def send(message):
            sent.append(message)

        self.runner.run(self.app(scope, receive, send))
        start, content = sent
        return start["status"], dict(start["headers"]), content["body"]


@pytest.fixture(scope="module")
def application(tmp_path_factory):
    made = Application(tmp_path_factory.mktemp("fuzz"))
    yield made
    made.close()


def told(status, headers, content):
    """What an answer says, which must be an answer or a problem."""
    assert int(headers[b"content-length"]) == len(content) <= LONGEST_ANSWER
    said = json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    if status == 200:
        assert all(math.isfinite(each["prediction"]) for each in said["predictions"])
        return said
    assert 400 <= status < 500, (status, said)
    assert headers[b"content-type"] == b"application/problem+json"
    assert said["status"] == status
    assert said["title"]
    assert said["detail"]
    assert len(said.get("errors", [])) <= 20
    assert all(error["where"] and error["what"] and error["next"] for error in said.get("errors", []))
    return said


ODD_NUMBERS = [
    "1e999",
    "-1e999",
    "1e-999",
    "9" * 400,
    "-0",
    "0.1e-320",
    "NaN",
    "Infinity",
    "1.7976931348623157e308",
    "01",
]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=30)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
NAMES = (
    st.sampled_from([field.name for field in FIELDS])
    | st.sampled_from(["Distance", "hour_weekday", ""])
    | st.text(max_size=8)
)
ROWS = st.dictionaries(NAMES, SCALARS | JSON, max_size=8)
MOMENTS = st.datetimes().map(lambda moment: moment.isoformat()) | st.sampled_from(
    [
        "2013-03-10T02:30:00",
        "2013-11-03T01:30:00-04:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-12:00",
        "2013-02-30",
        "now",
    ]
)
REQUESTS = st.one_of(
    JSON,
    st.fixed_dictionaries({"row": ROWS}),
    st.fixed_dictionaries({"rows": st.lists(ROWS, max_size=4)}, optional={"id": SCALARS, "more": JSON}),
    st.builds(lambda moment, key: {"row": {**ROW, "hour": moment, "flight": key}}, MOMENTS, SCALARS),
)


@st.composite
def damaged(draw):
    """A right body with bytes changed, taken away, repeated or put in."""
    body = bytearray(BODY)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        what = draw(st.sampled_from(["change", "cut", "insert", "repeat", "number"]))
        if what == "change" and at < len(body):
            body[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del body[at : at + draw(st.integers(1, 40))]
        elif what == "insert":
            body[at:at] = draw(st.binary(min_size=1, max_size=6))
        elif what == "repeat":
            body[at:at] = body[at : at + draw(st.integers(1, 60))]
        else:
            body = bytearray(bytes(body).replace(b"1400", draw(st.sampled_from(ODD_NUMBERS)).encode(), 1))
    return bytes(body)


@given(st.binary(max_size=300) | damaged() | REQUESTS.map(lambda value: json.dumps(value).encode()), st.integers(1, 5))
@example(b"", 1)
@example(b"[" * 60_000, 1)
@example(b'{"row":' * 8_000 + b"1" + b"}" * 8_000, 3)
@example(b'{"row":{"distance":' + b"9" * 50_000 + b"}}", 1)
@example(b'{"row":{"gate":' + b"9" * 5_000 + b'},"row":{}}', 1)
@example(b'{"row":{"distance":1,"distance":2}}', 1)
@example(b'{"row":{"carrier":"\\ud800"}}', 1)
@example(b'{"row":{"carrier":"\xed\xa0\x80"}}', 1)
@example(b'\xef\xbb\xbf{"row":{}}', 1)
@example(b'{"row":{"distance":1e400}}', 2)
@example(json.dumps({"row": {"x" * 30_000: 1}}).encode(), 1)
@example(json.dumps({"rows": [{f"f{i}": [] for i in range(200)}] * 40}).encode()[: 60 * 1024], 1)
def test_any_body_gets_an_answer_or_a_problem(application, body, chunks):
    told(*application.ask(body, chunks=chunks))


@given(damaged() | REQUESTS.map(lambda value: json.dumps(value).encode()))
def test_what_is_answered_was_read_as_json_says(application, body):
    """Python's own parser reads the same, and the same value written anew gets the same predictions."""
    status, _, content = application.ask(body)
    if status != 200:
        return

    def unique(pairs):
        assert len({name for name, _ in pairs}) == len(pairs)
        return dict(pairs)

    value = json.loads(body, object_pairs_hook=unique, parse_constant=lambda name: pytest.fail(f"{name} was taken"))
    anew = application.ask(json.dumps({**value, "id": None}).encode())
    assert anew[0] == 200
    ids = {"id": ""}
    first, second = ([{**p, **ids} for p in json.loads(c)["predictions"]] for c in (content, anew[2]))
    assert first == second


@given(
    st.sampled_from([PREDICT, "/v1/models/flights", "/metrics", "/v1/models/%66lights/predict"])
    | st.text(max_size=40).map("/".__add__),
    st.sampled_from(["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    b"content-type",
                    b"content-length",
                    b"content-encoding",
                    b"authorization",
                    b"idempotency-key",
                    b"host",
                    b"accept",
                ]
            ),
            st.binary(max_size=40)
            | st.sampled_from([b"-1", b"1e9", b"\xc2\xb2", b"9" * 30, b"application/json; charset=utf-7"]),
        ),
        max_size=4,
    ),
    st.binary(max_size=20),
)
def test_any_head_gets_an_answer_or_a_problem(application, path, method, headers, query):
    status, names, content = application.ask(BODY, path, method, headers, query)
    assert status < 500, content
    if status >= 400:
        told(status, names, content)


@pytest.mark.parametrize(
    "body",
    [
        {"row": {f"field {i}": 1 for i in range(2500)}},
        {"rows": [{f"distance{i}{j}": 1 for i in range(80)} for j in range(40)]},
        {"row": {"carrie" * 8_000: 1}},
        {"row": {**ROW, "hour": "2" * 60_000}},
        {f"row{i}": 1 for i in range(4000)},
        {"rows": [{"distance": "x", "hour": "x", "carrier": []}] * 50},
    ],
    ids=["fields", "rows of fields", "a long name", "a long time", "members", "mistakes"],
)
def test_many_mistakes_take_little_time(application, body):
    """A mistake costs a search for what was meant, so only those are looked for that are told."""
    sent = json.dumps(body).encode()
    application.ask(sent)
    begun = time.process_time()
    said = told(*application.ask(sent))
    assert time.process_time() - begun < 0.1
    assert said["errors"]


def test_memory_does_not_grow(application):
    draw = random.Random(5)
    deep, long = b"[" * 20_000, json.dumps({"row": {"carrier": "x" * 50_000}}).encode()

    def some(number):
        for turn in range(number):
            wrong = bytearray(BODY)
            wrong[draw.randrange(len(wrong))] = draw.randrange(256)
            unknown = json.dumps({"row": {f"field {turn} {draw.random()}": 1}}).encode()
            for body in (BODY, bytes(wrong), unknown, deep, long):
                application.ask(body)
            application.ask(BODY, f"/v1/models/{draw.random()}/predict")
            application.ask(BODY, PREDICT, f"M{turn}")

    some(150)
    gc.collect()
    tracemalloc.start()
    try:
        some(20)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some(150)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 64 * 1024, f"{grown:,} bytes after 1,050 requests"


@pytest.fixture
def listening(tmp_path):
    """The port of uvicorn with the application, as `trueup serve` runs it."""
    app, port = App([FakeServed(tmp_path / "flights", bundle())], Tokens(tmp_path / "tokens.json")), free_port()
    config = uvicorn.Config(app, "127.0.0.1", port, loop="uvloop", http=Connection, log_level="critical", lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < until
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join()


def said_to(port, data, patience=2.0):
    """What a server answers to bytes on a new connection, until it ends or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while part := connection.recv(65536):
                received += part
        except (TimeoutError, ConnectionError):
            pass
        return received


def request(body=BODY, line=f"POST {PREDICT} HTTP/1.1", **headers):
    named = {"Host": "localhost", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items() if value is not None)
    return f"{line}\r\n{head}\r\n".encode("latin-1") + body


def test_broken_http_does_not_disturb_the_server(listening):
    draw = random.Random(2)
    broken = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS to a port without it
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        request(Content_Length="7"),
        request(Content_Length="999999999999999999999"),
        request(Content_Length="-1"),
        request(Content_Length=None, Transfer_Encoding="chunked"),
        request(b"5\r\nhello\r\nZZ\r\n", Content_Length=None, Transfer_Encoding="chunked"),
        request(Content_Length="10", Transfer_Encoding="chunked"),
        request(X_Long="x" * 100_000),
        request(line="POST /" + "x" * 100_000 + " HTTP/1.1"),
        request(line=f"POST {PREDICT} HTTP/9.9"),
        request(line="POST http://[::1 HTTP/1.1"),
        request(Expect="100-continue"),
    ]
    for _ in range(60):
        data = bytearray(request())
        data[draw.randrange(len(data))] = draw.randrange(256)
        broken.append(bytes(data))
    for data in broken:
        for answer in said_to(listening, data).split(b"HTTP/1.1 ")[1:]:
            assert answer[:1] in b"1234", (data[:200], answer[:300])
    answer = said_to(listening, request())
    assert answer.startswith(b"HTTP/1.1 200"), answer
    assert len(msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])["predictions"]) == 2


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (b"", 200),
        (b"history=1", 200),
        (b"history=0&page=2", 200),
        (b"history=true", 422),
        (b"history=1&history=1", 422),
        (b"history", 422),
    ],
)
def test_a_query_is_taken_as_it_is_described(application, query, status):
    said = application.ask(BODY, query=query)
    assert said[0] == status
    told(*said)
