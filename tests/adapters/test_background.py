"""The process that makes reports: it ends with the one that started it, however that ends."""

import os
import signal
import subprocess
import sys
import time

import psutil

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
