"""An S3 server of the tests' own, which can also be busy: refuse some requests, and answer late."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Thread
from uuid import uuid4

_SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>'


class Server:
    """moto on an address of this machine.

    While `busy`, two of five requests are answered with 503; while `down`, all. Each takes `late` seconds. Lists do not show
    what was put within the last `stale` seconds.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_: object) -> None:
                pass

        self.busy, self.down, self.late, self.stale = False, False, 0.0, 0.0
        self.requests: list[str] = []
        self._moto, self._numbers = DomainDispatcherApplication(create_backend_app), count()
        self._server = make_server(host, 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://{host}:{self._server.server_port}"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def _answer(self, environ, start_response):
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(self.late)
        if self.down or (self.busy and next(self._numbers) % 5 < 2):
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(
                "503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(_SLOW_DOWN)))]
            )
            return [_SLOW_DOWN]
        if self.stale and "list-type=2" in environ["QUERY_STRING"]:
            return self._stale_list(environ, start_response)
        return self._moto(environ, start_response)

    def _stale_list(self, environ, start_response):
        answer = []
        body = b"".join(self._moto(environ, lambda status, headers, _=None: answer.extend((status, headers))))
        seen = f"{datetime.now(UTC) - timedelta(seconds=self.stale):%Y-%m-%dT%H:%M:%S}".encode()
        whole = body
        for found in re.findall(rb"<Contents>.*?</Contents>", whole, re.DOTALL):
            if re.search(rb"<LastModified>(.*?)</LastModified>", found)[1] > seen:
                body = body.replace(found, b"")
        status, headers = answer
        start_response(status, [(k, str(len(body)) if k.lower() == "content-length" else v) for k, v in headers])
        return [body]

    @property
    def environment(self) -> dict[str, str]:
        """What programs need to find this server."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def bucket(self) -> str:
        """The address of a new bucket."""
        import boto3

        name = f"bucket-{uuid4().hex}"  # moto keeps one state for all servers of a process
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()


def copy(before: str, after: str, without: str) -> None:
    """Copy the objects below an address to another one, but those whose keys begin with `without`."""
    import boto3

    client = boto3.client("s3")
    (_, old, prefix), (_, new, other) = (
        address.replace("//", "").replace(":", "/").split("/", 2) for address in (before, after)
    )
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=old, Prefix=f"{prefix}/"):
        for found in page.get("Contents", []):
            if not (key := found["Key"].removeprefix(f"{prefix}/")).startswith(without):
                client.copy_object(Bucket=new, Key=f"{other}/{key}", CopySource={"Bucket": old, "Key": found["Key"]})


@contextmanager
def running(host: str = "127.0.0.1") -> Iterator[Server]:
    """Run a server, and let the programs of this process find it."""
    server, before = Server(host), dict(os.environ)
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.close()
