"""docs/how-to/serve.md from top to bottom, in a shell: its commands, its Python and what it shows."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.blocks import ROOT, blocks
from tests.docs.test_commands import orders
from tests.free import free_port
from tests.stack import SLOW, until

PAGE = ROOT / "docs" / "how-to" / "serve.md"
SAVED = re.compile(r"# (\w+\.py)\n")

pytestmark = pytest.mark.thorough


class Shell:
    """Somebody who does what the page says, in a folder with the config that it begins with."""

    def __init__(self, folder):
        self.folder, self.said, self.port, self.server = folder, "", free_port(), None
        (folder / "configs" / "data").mkdir(parents=True)
        (config,) = [body for kind, body in blocks(ROOT / "docs" / "how-to" / "first-model.md") if kind == "yaml"]
        self.config = folder / "configs" / "late_orders.yaml"
        self.config.write_text(config, encoding="utf-8")
        orders().to_csv(folder / "configs" / "data" / "orders.csv", index=False)
        shutil.copy(ROOT / "prefect.yaml", folder)
        shutil.copy(ROOT / "examples" / "serving_client.py", folder)
        (folder / "bin").mkdir()
        for name, words in {"trueup": "-W ignore -m trueup", "python": ""}.items():
            shim = folder / "bin" / name
            shim.write_text(f'#!/bin/sh\nexec {sys.executable} {words} "$@"\n')
            shim.chmod(0o755)
        names = {name: value for name, value in os.environ.items() if not name.startswith("TRUEUP_")}
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        self.environment = {**names, "PATH": path, "PYTHONPATH": str(ROOT), "TRUEUP_REPORTS": "false", "COLUMNS": "200"}

    def run(self, lines):
        """Run lines, with the variables that earlier ones exported, and return what they print."""
        script = f"set -e\n{lines}\nenv -0 > environment\n"
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, f"{lines}: {done.stdout}{done.stderr}"
        pairs = (item.partition("=") for item in (self.folder / "environment").read_text().split("\0") if item)
        self.environment = {name: value for name, _, value in pairs}
        self.said += done.stdout
        return done.stdout

    def command(self, line):
        """Run a line of the page; a server goes on beside it."""
        line = line.replace(":8200", f":{self.port}")
        if not line.startswith("trueup serve"):
            return self.run(line)
        words = [str(self.folder / "bin" / "trueup"), *line.split()[1:], "--port", str(self.port)]
        self.server = subprocess.Popen(words, cwd=self.folder, env=self.environment, stderr=subprocess.DEVNULL)
        until(self.ready, 120)
        return ""

    def ready(self):
        assert self.server.poll() is None
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def end(self):
        if self.server is not None:
            self.server.terminate()
            self.server.wait(SLOW * 60)


@pytest.fixture
def shell(tmp_path):
    made = Shell(tmp_path)
    yield made
    made.end()


def test_the_page_does_what_it_says(shell):
    printed = ""
    for kind, body in blocks(PAGE):
        if kind == "yaml":
            shell.config.write_text(f"{shell.config.read_text()}\n{body}")
        elif named := SAVED.match(body):
            (shell.folder / named[1]).write_text(body.replace(":8200", f":{shell.port}"))
        elif kind == "":
            printed = "".join(shell.command(line) for line in body.splitlines())
            if "token add" in body:
                time.sleep(1.2)  # "within a second", as the command's help says
        elif kind == "text":
            missing = [line for line in body.splitlines() if line not in printed]
            assert not missing, f"{missing} is not in: {printed}"
        elif kind == "json":
            compare(json.loads(body), json.loads(printed))
    assert drained(shell)


def drained(shell):
    """Whether all that was logged is stored: the run took it in."""
    folder = shell.folder / ".trueup" / "serving" / "late_orders" / "log"
    noted = json.loads((folder / "drained.json").read_text())
    return all(noted[file.name] == file.stat().st_size > 0 for file in folder.glob("*.log"))


def compare(shown, came):
    """The page's answer has the members of the real one, and the same values where they say something."""
    assert shown.keys() == came.keys()
    for name in ("model", "role", "logged", "recorded", "joinable"):
        assert shown[name] == came[name]
    assert [each.keys() for each in shown["predictions"]] == [each.keys() for each in came["predictions"]]
    assert came["predictions"][0]["missing"] == came["predictions"][0]["unknown"] == []
