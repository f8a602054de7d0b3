"""One Prefect server for all tests of flows, and a home that they share the way into."""

import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import streams


@pytest.fixture(scope="session")
def prefect_server():
    """The address of a Prefect server of our own, for this process and those it starts."""
    from prefect.settings import PREFECT_API_URL
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=300):
        yield PREFECT_API_URL.value()


@dataclass
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str


class CommandLine:
    """The command line on a folder with `configs` and a home."""

    def __init__(self, folder: Path, monkeypatch, capsys) -> None:
        self.folder, self.home = folder, folder / "home"
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("TRUEUP_HOME", str(self.home))
        monkeypatch.setenv("TRUEUP_CONFIGS", str(folder / "configs"))
        monkeypatch.setenv("COLUMNS", "200")

    def __call__(self, *words: str) -> Answer:
        """Say a command in this process."""
        from flows.cli import main

        self._monkeypatch.setattr(sys, "argv", ["trueup", *words])
        # Prefect's handler writes to the stderr that the first test of the process had: gone, and logging would say so.
        self._monkeypatch.setattr(logging, "raiseExceptions", False)
        self._capsys.readouterr()
        try:
            main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        said = self._capsys.readouterr()
        return Answer(code, said.out, said.err)

    def apart(self, *words: str, **environment: str) -> Answer:
        """Say a command in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-c", "from flows.cli import main; main()", *words],
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
            env={**os.environ, **environment},
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def landed(self) -> list[str]:
        """Data that lies in the home."""
        return [str(p.relative_to(self.home)) for p in self.home.rglob("*") if p.suffix in {".parquet", ".tmp"}]


@pytest.fixture
def trueup(tmp_path, monkeypatch, capsys):
    """The command line; `trueup.folder` is where configs and home are."""
    streams.write(tmp_path, streams.Stream(days=14, per_day=20).frame())
    return CommandLine(tmp_path, monkeypatch, capsys)
