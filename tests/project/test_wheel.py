"""The wheel: it holds the library only, writes a project and turns its loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel of this checkout, built by setuptools."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-c", "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"]
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    source = tmp_path_factory.mktemp("source")
    for name in files:
        if name.startswith(("trueup/", "flows/", "tasks/", "edge/")) or name in {
            "pyproject.toml",
            "README.md",
            "LICENSE",
        }:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*build, str(folder)], cwd=source, check=True, capture_output=True)
    (found,) = folder.glob("trueup-*.whl")
    return found


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"trueup"}
    assert {n for n in names if n.endswith(".html")} >= {"trueup/reporting/templates/dossier.html"}


def test_an_environment_with_the_wheel_writes_a_project_and_turns_its_loop(wheel, tmp_path):
    environment, project = tmp_path / "environment", tmp_path / "project"
    venv.create(environment)
    (library,) = environment.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(library)
    # The vendors are those of the tests' own environment; a path in a .pth file leaves out its editable install.
    (library / "vendors.pth").write_text(sysconfig.get_path("purelib"))
    outside = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith(("PREFECT_", "TRUEUP_"))}
    trueup = [environment / "bin" / "python", "-m", "trueup"]
    subprocess.run([*trueup, "init", project], cwd=tmp_path, env=outside, check=True, capture_output=True, timeout=300)
    done = subprocess.run(
        [*trueup, "run", "example", "--as-of", "2025-03-01", "--json"],
        cwd=project / "configs",
        env=outside | {"TRUEUP_REPORTS": "false", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["batches"]
    assert (project / ".trueup" / "trueup.db").is_file()
    assert str(library) in subprocess.check_output(
        [environment / "bin" / "python", "-c", "import trueup; print(trueup.__file__)"],
        cwd=project,
        env=outside,
        text=True,
    )
