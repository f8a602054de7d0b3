"""What a run by hand does before Prefect's own server is up: the server is begun early, is the one that is used, and ends."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest

from trueup.config.settings import Settings
from trueup.stages.ports import Ports

_BY_HAND = """
import psutil
from flows.environment import by_hand, prepare
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
    code, told, errors = by_hand(tmp_path, "pass", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert code == 0, errors
    assert told == [""]


@pytest.mark.parametrize("time_is_left", [True, False])
def test_what_a_retrain_needs_is_opened_as_long_as_there_is_time(tmp_path, time_is_left):
    ports = Ports(Settings(home=tmp_path / "home", reports=False))
    ports.make_ready(lambda: time_is_left)
    assert (tmp_path / "home" / "mlflow.db").exists() is time_is_left


def test_what_cannot_be_opened_ahead_is_left_to_whoever_needs_it(tmp_path):
    ports = Ports(Settings(home=tmp_path / "home", reports=False, mlflow_uri="http://127.0.0.1:9"))
    ports.make_ready(lambda: True)
