"""The process that makes reports: it ends with the one that started it, however that ends."""

import logging
import os
import signal
import subprocess
import sys
import time

import psutil

from trueup.adapters.background import Background

PARENT = """
import time
from trueup.adapters.background import shared
if __name__ == "__main__":
    shared().submit("a report", print, "made")
    shared().wait()
    print("ready", flush=True)
    time.sleep(300 if {lives} else 0)
"""


def started(tmp_path, lives: bool):
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(lives=lives))
    return subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL if lives else subprocess.PIPE,
        text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip


def test_it_does_not_outlive_a_parent_that_was_killed(tmp_path):
    parent = started(tmp_path, lives=True)
    with parent.stdout:
        assert {parent.stdout.readline().strip(), parent.stdout.readline().strip()} == {"made", "ready"}
        children = psutil.Process(parent.pid).children(recursive=True)
        assert children
        parent.send_signal(signal.SIGKILL)
        parent.wait(10)
        deadline = time.monotonic() + 10
        while any(c.is_running() and c.status() != psutil.STATUS_ZOMBIE for c in children):
            assert time.monotonic() < deadline, "the report process lives on"
            time.sleep(0.1)


def test_an_ordinary_end_says_nothing(tmp_path):
    said, complained = started(tmp_path, lives=False).communicate(timeout=60)
    assert set(said.split()) == {"made", "ready"}
    assert complained == ""


def test_what_fails_is_logged_at_once_with_its_place_also_when_nobody_waits_for_it(caplog, tmp_path):
    page = tmp_path / "gone" / "report.html"
    background = Background()
    background.submit(f"the report {page}", page.write_text, "a page")  # in a folder that is not there
    background.submit("another report", os.getpid)
    deadline = time.monotonic() + 60
    while not caplog.records:
        assert time.monotonic() < deadline, "nothing was said"
        time.sleep(0.05)
    (said,) = caplog.records
    assert said.levelno == logging.WARNING
    assert said.getMessage().startswith(f"the report {page} could not be made: FileNotFoundError: ")
    assert len(background.wait()) == 1


def test_a_worker_that_was_killed_is_replaced_for_the_next_report(caplog, tmp_path):
    background, page = Background(), tmp_path / "report.html"
    background.submit("a report for which memory does not suffice", os._exit, 9)
    (failure,) = background.wait()
    assert failure.startswith("a report for which memory does not suffice: ")
    background.submit("the next report", page.write_text, "a page")
    assert background.wait() == []
    assert page.read_text() == "a page"
    assert len(caplog.records) == 1
