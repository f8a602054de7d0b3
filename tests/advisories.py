"""An advisory service of the tests' own, which speaks OSV's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

NOBODY = "http://127.0.0.1:1/v1/query"  # the address of none


@contextmanager
def serving(package: str, version: str, fixed_in: str) -> Iterator[str]:
    """The address of a service that knows of a hole in a version of one package, and none in all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            known = asked["package"]["name"] == package
            ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed_in}]}]
            affected = [{"package": {"name": package, "ecosystem": "PyPI"}, "ranges": ranges, "versions": [version]}]
            hole = {"id": "GHSA-zzzz", "published": "2026-01-01T00:00:00Z", "summary": "a hole", "affected": affected}
            body = json.dumps({"vulns": [hole]} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
