"""docs/how-to/dask.md: its commands start a scheduler and workers, and what TRUEUP_DASK names there takes work."""

import os
import shlex
import subprocess
import sys
from contextlib import ExitStack

import pytest

from tests.adapters.test_dask import certificate
from tests.blocks import ROOT, commands
from tests.free import free_port

PAGE = ROOT / "docs" / "how-to" / "dask.md"
HERE = ["--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0"]  # reachable from this machine only
WORK = """
from operator import add
from trueup.adapters.dask import cluster
from trueup.config.settings import Settings
cluster._PATIENCE = 240  # the scheduler and the workers are just starting
there = cluster.Cluster(Settings().dask)
there.client.wait_for_workers({workers}, timeout=240)
print(there.call(add, 1, 2))
"""


def stop(process):
    process.terminate()
    process.wait(60)


@pytest.mark.thorough
@pytest.mark.parametrize(("first", "workers"), [("dask scheduler --host", 4), ("export DASK_DISTRIBUTED__", 1)])
def test_the_page_does_what_it_says(first, workers, tmp_path):
    pytest.importorskip("distributed")
    (block,) = (block for block in commands(PAGE) if block.startswith(first))
    block = block.replace("8786", str(free_port())).replace("HOST", "127.0.0.1")
    *started, last = (shlex.split(line) for line in block.splitlines())
    cert, key = certificate(tmp_path)
    files = {"ca.pem": str(cert), "cert.pem": str(cert), "key.pem": str(key)}
    environment = dict(os.environ)
    with ExitStack() as processes:
        for words in started:
            if words[0] == "export":
                given = (word.split("=") for word in words[1:])
                environment |= {name: files[file] for name, file in given}
                continue
            process = subprocess.Popen([*words, *HERE], env=environment, cwd=tmp_path)
            processes.callback(stop, process)
        name, address = last[0].split("=")
        assert (name, last[1:]) == ("TRUEUP_DASK", ["trueup", "run", "late_orders"])
        work = [sys.executable, "-c", WORK.format(workers=workers)]
        done = subprocess.run(
            work, env={**environment, name: address}, cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert done.stdout == "3\n", done.stderr
