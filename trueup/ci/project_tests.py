"""Runs the tests of the head's project."""

from __future__ import annotations

import os
from pathlib import Path

from trueup.ci.environment import variables
from trueup.ci.findings import TestsRun
from trueup.ci.model_comparison import Tree
from trueup.ci.processes import run

FOLDER = "tests"
_OUTCOMES = {0: "passed", 5: "none"}  # by pytest's exit code
_LAST_LINES = 60


def run_tests(tree: Tree, place: Path, repository: Path, minutes: float) -> TestsRun:
    """Run `tests/` of a project by pytest in its own environment, at most so many minutes."""
    if not (tree.project / FOLDER).is_dir():
        return TestsRun("none", f"the project has no folder {FOLDER}", "", 0.0)
    home = place / "tests-account"
    home.mkdir()
    command = [tree.python, "-m", "pytest", FOLDER, "-q", "--color=no", "-p", "no:cacheprovider"]
    ran = run(command, tree.project, variables(os.environ, home, repository), place / "tests.txt", minutes * 60)
    lines = [line for line in ran.output.splitlines() if line.strip()]
    if ran.code is None:
        return TestsRun("failed", f"ended after ci.minutes ({minutes:g})", _end(lines), ran.seconds)
    outcome = _OUTCOMES.get(ran.code, "failed")
    summary = lines[-1].strip("= ") if lines else f"exit code {ran.code}"
    return TestsRun(outcome, summary, "" if outcome in _OUTCOMES.values() else _end(lines), ran.seconds)


def _end(lines: list[str]) -> str:
    return "\n".join(lines[-_LAST_LINES:])
