"""A connection is closed when the head of a request is too large, too slow, or no HTTP."""

import asyncio
import json

import pytest
import uvicorn
from uvicorn.server import ServerState

from trueup.errors import UsageError
from trueup.serving.http import connection
from trueup.serving.http.connection import HEAD_BYTES, Connection, limited
from trueup.serving.workers import allow_files

WHOLE = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


BODY = 3_000_000
LONG = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % BODY


async def answer_ok(_scope, _receive, send):
    await asyncio.sleep(0.05)  # as long as an answer may take
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def listening(kind=Connection):
    """A server whose connections are of a class."""
    config = uvicorn.Config(answer_ok, log_config=None)
    state = ServerState()
    return await asyncio.get_running_loop().create_server(
        lambda: kind(config=config, server_state=state, app_state={}), "127.0.0.1", 0
    )


async def talk(*parts):
    """All that a server answers to some bytes, read until it closes the connection."""
    server = await listening()
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        return await asyncio.wait_for(reader.read(), 30)
    finally:
        writer.close()
        server.close()


def test_a_client_that_closes_its_side_after_a_request_is_answered():
    async def asked():
        server = await listening()
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(WHOLE)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 30)
        finally:
            writer.close()
            server.close()

    assert asyncio.run(asked()).startswith(b"HTTP/1.1 200")


def problem(answer):
    head, _, body = answer.rpartition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    return json.loads(body)


def test_a_head_without_end_is_refused():
    endless = [b"GET / HTTP/1.1\r\nX: ", *[b"a" * 16_000] * (HEAD_BYTES // 16_000 + 2)]
    assert problem(asyncio.run(talk(*endless)))["status"] == 431


@pytest.mark.parametrize("part", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\n"])
def test_a_head_that_does_not_arrive_is_not_waited_for(part, monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    assert problem(asyncio.run(talk(part)))["status"] == 408


def test_a_second_head_is_bounded_in_time_too(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    answer = asyncio.run(talk(WHOLE, b"\r\n"))
    assert answer.startswith(b"HTTP/1.1 200")
    assert problem(answer)["status"] == 408


def test_what_is_no_http_is_a_problem():
    assert problem(asyncio.run(talk(b"\x16\x03\x01 no http\r\n\r\n")))["status"] == 400


def test_requests_one_after_the_other_are_answered():
    ending = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = asyncio.run(talk(WHOLE * 3, WHOLE[:20], WHOLE[20:], ending))
    assert answer.count(b"HTTP/1.1 200") == 5


def test_the_answer_arrives_though_the_body_is_not_read():
    ending = WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    answer = asyncio.run(talk(LONG, b"x" * BODY, ending))
    assert answer.count(b"HTTP/1.1 200") == 2


def test_the_rest_of_a_body_is_not_thrown_away_for_ever(monkeypatch):
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    answer = asyncio.run(talk(LONG, b"x" * 100_000))
    assert answer.count(b"HTTP/1.1 ") == answer.count(b"HTTP/1.1 200") == 1


async def beyond_two(*parts):
    """What a third connection gets beside two, which are asked afterwards, and what a new one gets when one has ended."""
    refused, writers = [], []
    server = await listening(limited(2, lambda: refused.append(1)))

    async def connected():
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writers.append(writer)
        return reader, writer

    before = [await connected() for _ in range(2)]
    reader, writer = await connected()
    for part in parts:
        writer.write(part)
    answers = [await asyncio.wait_for(reader.read(), 30)]
    for old, into in before:
        into.write(WHOLE)
        answers.append(await old.readuntil(b"ok"))
    before[0][1].close()
    answered = b""
    while b"200 OK" not in answered:
        again, into = await connected()
        into.write(WHOLE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answered = await again.read()
    for one in writers:
        one.close()
        await one.wait_closed()
    server.close()
    await asyncio.sleep(0)
    return answers, len(refused)


@pytest.mark.parametrize("parts", [[WHOLE], [LONG, b"x" * 1000], []], ids=["a request", "a body", "nothing"])
def test_a_connection_too_many_is_refused_and_the_others_go_on(parts):
    (refused, *answered), count = asyncio.run(beyond_two(*parts))
    assert problem(refused)["status"] == 503
    assert b"\r\nretry-after: 1\r\n" in refused
    assert [answer.startswith(b"HTTP/1.1 200") for answer in answered] == [True, True]
    assert count >= 1


def test_more_open_files_than_allowed_are_a_mistake(monkeypatch):
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    with pytest.raises(UsageError, match="--connections 5000 needs 5256 open files, and this account may have 4096"):
        allow_files(5000)
    raised = []
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: raised.append(limits))
    allow_files(750), allow_files(2000)
    assert raised == [(2256, 4096)]
