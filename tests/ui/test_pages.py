"""The pages over HTTP: what they show, what they refuse, and that nothing on them is markup but our own."""

import json
import re
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from starlette.testclient import TestClient

from tests.postgres import cluster
from tests.ui.fleets import Fleet, estimated
from trueup.config.settings import Settings
from trueup.errors import LedgerError, UsageError
from trueup.ui import pages
from trueup.ui.app import application
from trueup.ui.server import require_guarded

EVIL = '<script>alert(1)</script><img src=x onerror="alert(2)">'
TOKEN = "a-token-of-the-test"


@pytest.fixture
def fleet(tmp_path):
    made = Fleet(tmp_path, "calm", "waiting").open()
    for number in range(3):
        made.batch("calm", number)
    made.decide("calm", "promoted", 0)
    made.batch("waiting", 0, "decayed", reasons=(f"decayed: {EVIL}",), columns=(EVIL, "c"))
    made.decide("waiting", "promoted", 0)
    made.decide("waiting", "pending", 0, version=2, reasons=(EVIL,), epoch=1)
    yield made
    made.close()


@pytest.fixture
def client(fleet):
    with TestClient(application(fleet.settings), base_url="http://127.0.0.1") as client:
        yield client


def rows(text):
    return re.findall(r'data-name="(\w+)"', text)


def test_what_needs_a_person_comes_first(client):
    page = client.get("/")
    assert page.status_code == 200
    assert rows(page.text) == ["waiting", "calm"]
    assert "waits for approval" in page.text
    assert "1 open approval" in page.text


@pytest.mark.parametrize(
    "path",
    ["/", "/models/waiting", "/decisions/3", "/ledger", "/ledger?text=alert", "/approvals", f"/ledger?model={EVIL}"],
)
def test_html_in_a_value_stays_text(client, path):
    text = client.get(path).text
    assert "<script>alert" not in text
    assert "<img" not in text
    if path in {"/models/waiting", "/decisions/3", "/approvals"}:
        assert "alert(1)" in text


def test_a_column_with_html_stays_text_in_plotlys_own_html(client):
    text = client.get("/models/waiting").text
    figure = re.search(r'id="f-drift">(.*?)</script>', text, re.DOTALL)[1]
    assert "<" not in figure
    assert r"\u0026lt;script\u0026gt;alert(1)" in figure  # an entity, which Plotly shows as the sign


def test_a_decision_has_its_reasons_and_hashes(client, fleet):
    entry = fleet.home.ledger.entry(1)
    text = client.get("/decisions/1").text
    assert "promoted" in text
    assert entry.hash in text
    assert entry.prev_hash in text


def test_the_ledger_is_filtered_and_paged(client, fleet):
    for number in range(60):
        fleet.decide("calm", "held", number, version=number)
    first = client.get("/ledger?kind=held").text
    listed = re.findall(r'href="/decisions/(\d+)">#', first)
    assert listed == [str(n) for n in range(63, 13, -1)]
    older = re.search(r'href="(/ledger\?[^"]*before[^"]*)"', first)[1].replace("&amp;", "&")
    assert re.findall(r'href="/decisions/(\d+)">#', client.get(older).text) == [str(n) for n in range(13, 3, -1)]
    assert re.findall(r">#(\d+)<", client.get("/ledger?from=2026-02-20").text)[-1] == "49"
    assert re.findall(r">#(\d+)<", client.get("/ledger?model=waiting&until=2026-01-06").text) == ["3", "2"]
    assert "No decision matches" in client.get("/ledger?text=%25").text  # a sign of the database is a character here
    for wrong in ("from=yesterday", "model=calm&at=noon", "at=2026-01-01T00:00", "model=nobody&at=2026-01-01T00:00"):
        assert 'role="alert"' in client.get(f"/ledger?{wrong}").text


def test_approvals_show_the_commands(client):
    text = client.get("/approvals").text
    assert "trueup approve 3 --by NAME" in text
    assert "trueup reject 3 --by NAME --why TEXT" in text


def test_what_is_not_there_is_not_found(client):
    for path in ("/models/nobody", "/decisions/99", "/decisions/99999999999999999999", "/nothing", "/static/../app.py"):
        assert client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", ["/", "/approvals/3/form", "/events", "/static/ui.js"])
def test_other_methods_are_refused(client, fleet, method, path):
    before = fleet.home.ledger.newest()
    answer = client.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert fleet.home.ledger.newest() == before


def test_head_answers_like_get_without_a_body(client):
    answer = client.head("/")
    assert answer.status_code == 200
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/", "/static/ui.js", "/nothing", "/static/plotly.min.js"])
def test_every_answer_keeps_other_sites_out(client, path):
    headers = client.get(path, headers={"Origin": "https://elsewhere.example"}).headers
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "unsafe-eval" not in headers["Content-Security-Policy"]
    assert not [name for name in headers if name.lower().startswith("access-control")]


def test_an_unknown_host_is_refused(client):
    assert client.get("/", headers={"Host": "elsewhere.example"}).status_code == 400
    assert client.get("/", headers={"Host": "localhost:8300"}).status_code == 200


def test_with_a_token_every_request_for_a_page_needs_it(fleet):
    settings = fleet.settings.model_copy(update={"reports_token": TOKEN})
    with TestClient(application(settings), base_url="http://127.0.0.1") as client:
        for path in ("/", "/events", "/static/ui.js", "/metrics"):
            assert client.get(path).status_code == 401
        assert client.get("/health").text == "ok"  # for the probes of a container
        assert client.get("/", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        assert client.get("/", auth=("me", TOKEN)).status_code == 200


def test_a_home_that_does_not_exist_yet_is_shown_and_not_made(tmp_path):
    (tmp_path / "configs").mkdir()
    settings = Settings(home=tmp_path / "home", configs=tmp_path / "configs")
    with TestClient(application(settings), base_url="http://127.0.0.1") as client:
        for path in ("/", "/ledger", "/approvals", "/ledger?model=toy&at=2026-01-01T00:00"):
            assert client.get(path).status_code == 200
        assert "No model yet" in client.get("/").text
    assert not (tmp_path / "home").exists()


def test_all_files_come_from_the_server(client):
    for path in ("/", "/models/calm", "/ledger"):
        for address in re.findall(r'(?:src|href)="([^"]+\.(?:js|css|svg)[^"]*)"', client.get(path).text):
            assert address.startswith("/static/")
            assert client.get(address).status_code == 200


def test_estimates_and_the_columns_that_matter_are_shown(client, fleet):
    effects = [{"column": "x", "effect": 0.04, "share": 0.8, "words": "x moved, and moves predictions by +0.04"}]
    fleet.batch("calm", 3, estimate=estimated(0.44))
    fleet.batch("calm", 4, "estimated_decay", estimate=estimated(0.61, worse=True, off=True), effects=effects)
    deadline = time.monotonic() + 30
    while "log-loss 0.6100" not in client.get("/").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    row = client.get("/").text.partition('data-name="calm"')[2].partition("</tr>")[0]
    for words in (
        "estimate was off",
        "estimated decay",
        "log-loss 0.6100",
        "was off before",
        "x +0.04",
    ):
        assert words in row, words
    text = client.get("/models/calm").text
    assert "x moved, and moves predictions by +0.04" in text
    assert "an earlier estimate was 0.2 too low" in text
    assert '"name": "estimated"' in text
    assert '"name": "estimate was off"' in text


def test_an_estimate_without_labels_says_that_the_last_one_was_off(client, fleet):
    made = estimated(0.44) | {"check": None, "doubts": "the last estimate with labels was off: <b>by .2</b>"}
    fleet.batch("calm", 3, "unknown", estimate=made)
    deadline = time.monotonic() + 30
    while "estimate was off" not in client.get("/").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert "the last estimate with labels was off: &lt;b&gt;by .2&lt;/b&gt;" in client.get("/models/calm").text


def test_the_metrics_are_there_with_and_without_a_home(client, tmp_path):
    assert 'trueup_model_champion_version{model="calm"} 1.0' in client.get("/metrics").text
    (tmp_path / "none").mkdir()
    settings = Settings(home=tmp_path / "home2", configs=tmp_path / "none")
    with TestClient(application(settings), base_url="http://127.0.0.1") as other:
        assert other.get("/metrics").status_code == 200


def test_a_stream_asked_for_by_head_ends(client):
    assert client.head("/events").headers["content-type"].startswith("text/event-stream")


@pytest.fixture
def prefect(monkeypatch):
    """A server that answers as Prefect's does about suspended runs."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            asked.append((self.path, json.loads(body)))
            runs = [{"id": "other", "parameters": {"approval": "30"}}, {"id": "mine", "parameters": {"approval": "3"}}]
            answer = json.dumps(runs).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("PREFECT_API_URL", f"{address}/api")
        yield address, asked
        server.shutdown()


def test_the_buttons_lead_to_prefects_form(client, prefect):
    address, asked = prefect
    page = client.get("/approvals").text
    assert 'href="/approvals/3/form"' in page
    assert "trueup approve 3 --by NAME" in page  # also without Prefect
    answer = client.get("/approvals/3/form", follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"{address}/runs/flow-run/mine"
    assert asked[0][0] == "/api/flow_runs/filter"
    assert asked[0][1]["flow_runs"] == {"state": {"name": {"any_": ["Suspended"]}}}
    assert client.get("/approvals/4/form", follow_redirects=False).status_code == 404


def test_without_an_answer_of_prefect_the_page_says_so(client, monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    answer = client.get("/approvals/3/form", follow_redirects=False)
    assert answer.status_code == 404
    assert "no open form" in answer.text


def test_a_home_that_fails_during_a_request_is_told(client, monkeypatch):
    def fails(*_):
        raise LedgerError("the ledger cannot be read: <locked>")

    monkeypatch.setattr(pages, "decision", fails)
    answer = client.get("/decisions/1")
    assert answer.status_code == 503
    assert "the ledger cannot be read: &lt;locked&gt;" in answer.text


def test_what_comes_from_a_home_that_is_away_is_not_shown_as_empty(tmp_path):
    with cluster() as server:
        made = Fleet(tmp_path, "toy", database_url=server.url.render_as_string(hide_password=False)).open()
        made.batch("toy", 0)
        made.decide("toy", "promoted", 0)
        with TestClient(application(made.settings, pause=0.1), base_url="http://127.0.0.1") as client:
            assert client.get("/decisions/1").status_code == 200
            made.home.engine.dispose()
            server.stop()
            deadline = time.monotonic() + 60
            while "cannot be read" not in client.get("/").text:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            for path in ("/decisions/1", "/ledger", "/approvals"):
                answer = client.get(path)
                assert answer.status_code == 503
                assert "No decision" not in answer.text
            shown = client.get("/models/toy").text
            assert "once the home can be read" in shown
            assert "c-performance" not in shown
            server.start()
        made.close()


@pytest.mark.parametrize(
    ("host", "token", "said"),
    [("0.0.0.0", TOKEN, "not a single address"), ("192.0.2.7", None, "TRUEUP_REPORTS_TOKEN"), ("::", None, "single")],
)
def test_an_address_that_others_reach_needs_a_token(host, token, said):
    with pytest.raises(UsageError, match=said):
        require_guarded(Settings(reports_token=token), host)


def test_this_machine_and_an_address_with_a_token_are_served():
    require_guarded(Settings(), "127.0.0.1")
    require_guarded(Settings(), "localhost")
    require_guarded(Settings(reports_token=TOKEN), "192.0.2.7")
