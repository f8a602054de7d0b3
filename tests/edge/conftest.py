"""Fixtures of the tests of the edge runtime."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.edge import bundles


@pytest.fixture
def anchor(tmp_path):
    """The file of a trust anchor with key 1, for the model toy."""
    return bundles.trust(tmp_path / "trust.json")


@pytest.fixture
def bundle(tmp_path):
    """The folder of a valid bundle of the model toy."""
    return bundles.write(tmp_path / "bundle")


@pytest.fixture
def command():
    """Runs `python -m trueup_edge` in a process of its own."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "trueup_edge", *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(bundles.EDGE)} | environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run
