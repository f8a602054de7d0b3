"""The contracts on imports in pyproject.toml hold, and each is broken by an import that it forbids."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIOLATIONS = {
    "Imports go only downward": ("trueup/reporting/html.py", "from trueup.audit import verify"),
    "The domain's packages build on each other": (
        "trueup/domain/data/digest.py",
        "from trueup.domain.monitoring import diagnosis",
    ),
    "Only the orchestration, flows and tasks know Prefect": ("trueup/adapters/parquet.py", "from prefect import flow"),
    "The server runs without what trains": ("trueup/serving/metrics.py", "from trueup.reporting import html"),
    "The domain knows no vendor": ("trueup/domain/data/periods.py", "import duckdb"),
    "The stages speak to vendors through the adapters": ("trueup/stages/score.py", "import mlflow"),
    "Flows and tasks know Prefect, and leave the other vendors to the library": ("flows/score.py", "import evidently"),
}


@pytest.fixture
def tree(tmp_path):
    """A copy of what the contracts are about."""
    for name in ("trueup", "tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def verdicts(tree):
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command(['--no-cache'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True, check=False)
    return done.returncode, dict(re.findall(r"^(\w.*) (KEPT|BROKEN)", done.stdout, re.MULTILINE))


def test_the_contracts_are_kept(tree):
    assert verdicts(tree) == (0, dict.fromkeys(VIOLATIONS, "KEPT"))


def test_each_contract_is_broken_by_an_import_that_it_forbids(tree):
    for file, line in VIOLATIONS.values():
        path = tree / file
        path.write_text(f"{path.read_text()}\n{line}\n")
    assert verdicts(tree) == (1, dict.fromkeys(VIOLATIONS, "BROKEN"))
