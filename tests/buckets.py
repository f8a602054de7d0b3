"""An S3 server of the tests' own, which can also be busy: refuse some requests, and answer late."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from threading import Thread

_SLOW_DOWN = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>'


class Server:
    """moto on 127.0.0.1. While `busy`, two of five requests are answered with 503; while `down`, all. Each takes `late` seconds."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            def log(self, *_: object) -> None:
                pass

        self.busy, self.down, self.late = False, False, 0.0
        self.requests: list[str] = []
        self._moto, self._numbers, self._buckets = DomainDispatcherApplication(create_backend_app), count(), count()
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
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
        return self._moto(environ, start_response)

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

        name = f"bucket-{next(self._buckets)}"
        boto3.client("s3").create_bucket(Bucket=name)
        return f"s3://{name}"

    def close(self) -> None:
        """Let the port go."""
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running() -> Iterator[Server]:
    """Run a server, and let the programs of this process find it."""
    server, before = Server(), dict(os.environ)
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.close()
