"""Who tells of a program of the stack that does not stay up."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow  # a process each


def message(event, program):
    """What supervisord says of it."""
    payload = f"processname:{program} groupname:{program} from_state:STARTING tries:1"
    head = f"ver:3.0 server:trueup serial:1 pool:alarm poolserial:1 eventname:{event} len:{len(payload)}\n"
    return head + payload


def listen(home, events, notify):
    """Give the listener some events; it ends with its input."""
    environment = {**os.environ, "TRUEUP_HOME": str(home), "TRUEUP_NOTIFY": notify}
    done = subprocess.run(
        [sys.executable, "-m", "trueup.orchestration.stack.alarm"], env=environment, input="".join(events), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.stdout, done.stderr


def test_a_program_that_does_not_stay_up_is_told_once(tmp_path, answering):
    people = answering(200)
    accidents = [message("PROCESS_STATE_EXITED", "reports")] * 4
    failing = [message("PROCESS_STATE_BACKOFF", "mlflow"), message("PROCESS_STATE_EXITED", "mlflow")] * 6
    said, _ = listen(tmp_path, [*accidents, *failing], people.url.replace("http:", "json:"))
    assert said.count("RESULT 2\nOK") == 16
    (body,) = people.bodies
    assert body["title"] == "Trueup: mlflow does not stay up"
    assert f"Its log: {tmp_path / 'stack' / 'logs' / 'mlflow'}.log" in body["message"]


def test_without_anybody_to_tell_it_stands_in_the_log(tmp_path):
    said, log = listen(tmp_path, [message("PROCESS_STATE_BACKOFF", "prefect")] * 5, "")
    assert said.count("OK") == 5
    assert "prefect of the stack" in log
