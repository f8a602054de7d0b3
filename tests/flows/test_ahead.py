"""What a run by hand does before Prefect's own server is up: the server is begun early, is the one that is used, and ends."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil
import pytest

from trueup.adapters.great_expectations import engine
from trueup.config.settings import Settings
from trueup.home import Ports

_BY_HAND = """
import psutil
from trueup.orchestration.environment import by_hand, prepare
prepare()
with by_hand():
    servers = [p for p in psutil.Process().children() if "uvicorn" in p.cmdline()]
    print(*(p.pid for p in servers), flush=True)
    {then}
"""
_A_FLOW = """
    from prefect import flow
    from prefect.server.api.server import SubprocessASGIServer
    flow(lambda: None, name="nothing")()
    print(SubprocessASGIServer().server_process.pid)
"""

_TWICE = """
    pass
with by_hand():
    print(*(p.pid for p in psutil.Process().children() if "uvicorn" in p.cmdline()))
"""
_NEVER_UP = """
    import threading
    from trueup.orchestration.ephemeral_server import opening_meanwhile
    from trueup.home import Ports
    opened, over = [], threading.Event()
    def make_ready(self, waiting):
        while waiting():
            opened.append("tracking")
            over.wait(60)
    Ports.make_ready = make_ready
    servers[0].kill()
    with opening_meanwhile():
        while not opened:
            over.wait(0.01)
    over.set()
    [t.join() for t in threading.enumerate() if t.name == "ahead"]
    print(opened)
"""


def by_hand(tmp_path, then: str, **environment: str) -> tuple[int, list[str], str]:
    """Run a block by hand in a process and home of its own; its exit code, what it printed, line by line, and its errors."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", _BY_HAND.format(then=then)],
        env={**inherited, "TRUEUP_HOME": str(tmp_path / "home"), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


def test_the_server_that_is_begun_early_is_the_one_that_prefect_uses_and_ends(tmp_path):
    code, told, errors = by_hand(tmp_path, _A_FLOW)
    assert code == 0, errors
    (begun, used) = told
    assert begun == used
    assert not psutil.pid_exists(int(begun))


def test_it_ends_also_when_no_flow_was_called(tmp_path):
    code, (begun,), errors = by_hand(tmp_path, "raise SystemExit(3)")
    assert code == 3, errors
    assert not psutil.pid_exists(int(begun))


def test_where_there_is_a_server_none_is_begun(tmp_path):
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as there:  # whatever it says, it is there
        threading.Thread(target=there.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{there.server_port}/api"
        code, told, errors = by_hand(tmp_path, "pass", PREFECT_API_URL=url)
        there.shutdown()
    assert code == 0, errors
    assert told == [""]


def test_where_the_server_does_not_answer_the_error_says_what_to_do(tmp_path):
    code, _, errors = by_hand(tmp_path, "pass", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert code == 1
    assert "the Prefect server http://127.0.0.1:9/api does not answer" in errors
    assert "unset PREFECT_API_URL" in errors


def test_a_second_block_begins_no_second_server(tmp_path):
    code, told, errors = by_hand(tmp_path, _TWICE)
    assert code == 0, errors
    (begun, then) = told
    assert begun == then


def test_a_mistake_in_the_arguments_starts_and_writes_nothing(trueup, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    answer = trueup.apart("run", "toy", "--as-of", "nonsense", TRUEUP_HOME=str(trueup.folder / "fresh"))
    assert answer.code == 2
    assert not list((trueup.folder / "fresh").rglob("*.db"))


@pytest.mark.parametrize("time_is_left", [True, False])
def test_what_a_retrain_needs_is_opened_as_long_as_there_is_time(tmp_path, time_is_left):
    ports = Ports(Settings(home=tmp_path / "home", reports=False))
    ports.make_ready(lambda: time_is_left)
    assert (tmp_path / "home" / "mlflow.db").exists() is time_is_left


def test_what_cannot_be_opened_ahead_keeps_nothing_else_from_it(tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(engine, "implementations", lambda: opened.append("expectations"))
    Ports(Settings(home=tmp_path / "home", reports=False, mlflow_uri="http://127.0.0.1:9")).make_ready(lambda: True)
    assert opened == ["expectations"]


def test_what_is_opened_meanwhile_ends_with_the_block_though_no_server_ever_listens(tmp_path):
    begun = time.monotonic()
    code, told, errors = by_hand(tmp_path, _NEVER_UP)
    assert code == 0, errors
    assert told[-1] == "['tracking']", "what had begun is opened to its end, and nothing after it"
    assert time.monotonic() - begun < 120
