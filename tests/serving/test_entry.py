"""`trueup serve` starts without the rest of the command line, which takes longer to load than the server."""

import os
import subprocess
import sys

import pytest

STARTED = """
import os, sys
os.execve = lambda program, words, environment: (print(*words[1:]), print(*sys.modules), os._exit(0))
from trueup.cli.entry import main
main()
"""


def serve(folder, *words):
    environment = {**os.environ, "TRUEUP_HOME": str(folder / "home"), "TRUEUP_CONFIGS": str(folder)}
    command = [sys.executable, "-u", "-c", STARTED, "serve", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def published(tmp_path):
    """A folder with a config that cannot be read in full, and a published state."""
    (tmp_path / "toy.yaml").write_text("model: toy\nfeatures: {custom: 'missing:function'}\nserve : {}\n")
    state = tmp_path / "home" / "serving" / "toy" / "state"
    state.parent.mkdir(parents=True)
    state.write_text("")
    return tmp_path


@pytest.mark.parametrize("named", [["toy"], []], ids=["named", "all"])
def test_a_published_model_is_served_without_reading_its_config(published, named):
    done = serve(published, *named, "--port", "0")
    assert done.returncode == 0, done.stderr
    words, modules = done.stdout.splitlines()
    assert words == "-m trueup.serving toy --host 127.0.0.1 --port 0 --workers 1 --connections 750"
    if named:
        loaded = {
            "pandas",
            "numpy",
            "rich",
            "sqlalchemy",
            "prefect",
            "pydantic",
            "trueup.config.load",
            "trueup.cli.main",
        }
        assert not loaded & set(modules.split())


def test_a_model_that_is_not_published_needs_a_right_config(published):
    (published / "home" / "serving" / "toy" / "state").unlink()
    done = serve(published, "toy")
    assert done.returncode == 2
    assert "toy.yaml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_without_the_section_is_named(published):
    (published / "toy.yaml").write_text("model: toy\n# serve: {}\n")
    done = serve(published, "toy")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
