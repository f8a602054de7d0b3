"""The tutorials: what they say to save is saved, their commands are said in order, and what they show is what comes."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.fixtures import Answer
from tests.prefork import Prefork
from trueup.config.load import load_model

ROOT = Path(__file__).parents[2]
HOW_TO = ROOT / "docs" / "how-to"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")


class Reader:
    """Somebody who does what a page says, in a folder that is like a fresh clone."""

    def __init__(self, folder: Path, say: Prefork) -> None:
        self.folder, self.said, self.say = folder, "", say
        (folder / "configs").mkdir(parents=True)
        shutil.copy(ROOT / "prefect.yaml", folder)
        shutil.copytree(ROOT / "edge" / "trueup_edge", folder / "trueup_edge")  # as if it were installed
        for package in ("trueup", "flows", "tasks"):
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))

    def follow(self, page: Path) -> None:
        """Read the page from top to bottom."""
        for kind, body in FENCE.findall(page.read_text(encoding="utf-8")):
            if named := SAVED.match(body):
                (self.folder / named[1]).write_text(body, encoding="utf-8")
            elif kind == "text":
                self._compare(body)
            elif kind == "":
                for line in body.splitlines():
                    self._say(line)

    def _say(self, line: str) -> None:
        words = shlex.split(line)
        env = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "TRUEUP_"))}
        env |= {"PYTHONPATH": str(self.folder), "COLUMNS": "200", "TRUEUP_REPORTS": "false"}
        done = {"python": self._python, "trueup": self.say}[words[0]](words[1:], self.folder, env)
        assert done.code == 0, f"{words}: {done.out}{done.err}"
        self.said += done.out

    def _python(self, words: list[str], folder: Path, env: dict[str, str]) -> Answer:
        words = [sys.executable, *words]
        done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=400, check=False)
        return Answer(done.returncode, done.stdout, done.stderr)

    def _compare(self, body: str) -> None:
        configs = "".join(p.read_text(encoding="utf-8") for p in sorted((self.folder / "configs").glob("*.yaml")))
        there = " ".join((self.said + configs).split())
        missing = [line for line in body.splitlines() if " ".join(line.split()) not in there]
        assert not missing, f"nothing of the kind came: {missing}; but: {self.said}{configs}"


QUICK, SLOW = ("your-own-data",), ("regression", "late-labels")  # the latter take minutes each
CONTINUED = {"your-own-data": ("edge", "fleet")}  # by pages that begin where these end
TUTORIALS = (*QUICK, *SLOW, *(page for pages in CONTINUED.values() for page in pages))


@pytest.fixture(scope="module")
def say(tmp_path_factory):
    prefork = Prefork(tmp_path_factory.mktemp("prefork"))
    yield prefork
    prefork.close()


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.thorough) for name in SLOW)])
def test_a_tutorial_does_what_it_says(name, say, tmp_path):
    reader = Reader(tmp_path / "clone", say)
    reader.follow(HOW_TO / f"{name}.md")
    if name == "your-own-data":
        deployed = yaml.safe_load((reader.folder / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
        told = [b for kind, b in FENCE.findall((HOW_TO / f"{name}.md").read_text(encoding="utf-8")) if "<<: *run" in b]
        assert told[0].rstrip() in (reader.folder / "prefect.yaml").read_text(encoding="utf-8")
        assert next(d["entrypoint"] for d in deployed if d["name"] == "late_orders") == "flows.run:run"
        least = reader.folder / "configs" / "least_orders.yaml"
        assert len(least.read_text(encoding="utf-8").splitlines()) <= 40
        assert load_model(least.parent, "least_orders").features.numeric == ["weight_kg", "parcels"]
    for page in CONTINUED.get(name, ()):
        reader.follow(HOW_TO / f"{page}.md")
