"""Local servers that speak as much of the APIs of GitHub and GitLab as a report needs."""

import json
import re
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qs, urlparse

TOKEN = "t0ken"


class Host:
    """What the server holds. `broken` is the number of requests that are answered with 503 before it works."""

    def __init__(self) -> None:
        self.pulls: list[dict] = []
        self.comments: dict[int, list[dict]] = {}
        self.issues: list[dict] = []
        self.calls: list[str] = []
        self.broken, self.url, self._ids = 0, "", 1000

    def new(self, **fields) -> dict:
        self._ids += 1
        return {"id": self._ids, **fields}

    def answer(self, method: str, path: str, query: dict, body: dict, headers):
        """Status and JSON."""
        if self.broken:
            self.broken -= 1
            return 503, {"message": "later"}
        self.calls.append(f"{method} {path}")
        if TOKEN not in (headers.get("Authorization", ""), headers.get("PRIVATE-TOKEN", "")) and (
            headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            return 401, {"message": "Bad credentials"}
        page = int(query.get("page", ["1"])[0])
        status, found = self._github(method, path, query, body) or self._gitlab(method, path, body) or (404, {})
        return status, found[100 * (page - 1) : 100 * page] if isinstance(found, list) else found

    def _github(self, method, path, query, body):
        bot = {"login": "github-actions[bot]"}
        if path.endswith("/pulls"):
            owner, branch = query["head"][0].split(":", 1)
            return 200, [
                p
                for p in self.pulls
                if (p["head"]["repo"]["full_name"].split("/")[0], p["head"]["ref"]) == (owner, branch)
            ]
        if found := re.fullmatch(r"/repos/[^/]+/[^/]+/issues/(\d+)/comments", path):
            there = self.comments.setdefault(int(found[1]), [])
            if method == "POST":
                there.append(self.new(user=bot, **body))
                return 201, there[-1]
            return 200, there
        if found := re.fullmatch(r"/repos/[^/]+/[^/]+/issues/comments/(\d+)", path):
            (one,) = [c for there in self.comments.values() for c in there if c["id"] == int(found[1])]
            one.update(body)
            return 200, one
        if found := re.fullmatch(r"/repos/[^/]+/[^/]+/issues(?:/(\d+))?", path):
            return self._issue(method, found[1], body, "number", {"user": bot}, {"closed": "closed"}, "state")
        return None

    def _gitlab(self, method, path, body):
        me = {"author": {"id": 5}}
        if path == "/user":
            return 200, {"id": 5}
        if found := re.fullmatch(r"/projects/12/merge_requests/(\d+)/notes(?:/(\d+))?", path):
            there = self.comments.setdefault(int(found[1]), [])
            if method == "POST":
                there.append(self.new(**me, **body))
                return 201, there[-1]
            if method == "PUT":
                (one,) = [c for c in there if c["id"] == int(found[2])]
                one.update(body)
                return 200, one
            return 200, there
        if found := re.fullmatch(r"/projects/12/issues(?:/(\d+))?", path):
            return self._issue(method, found[1], body, "iid", me, {"close": "closed"}, "state_event")
        return None

    def _issue(self, method, number, body, key, author, closing, field):
        if method == "POST":
            self.issues.append(self.new(**{key: len(self.issues) + 1, "state": "opened", **author, **body}))
            return 201, self.issues[-1]
        if number:
            (one,) = [i for i in self.issues if i[key] == int(number)]
            one.update(body)
            one["state"] = closing.get(body.get(field), one["state"])
            return 200, one
        return 200, [i for i in self.issues if i["state"] == "opened"]


@contextmanager
def serving():
    """A host on a free port."""
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            url = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            status, content = host.answer(self.command, url.path, parse_qs(url.query), body, self.headers)
            text = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_PATCH = do_PUT = _answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()
