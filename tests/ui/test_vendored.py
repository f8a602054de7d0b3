"""The scripts of others in `trueup/ui/static` are the published ones."""

import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[2] / "trueup" / "ui" / "static"
# file: package, version, its path there; the licence beside it
SCRIPTS = {
    "htmx-2.0.11.min.js": ("htmx.org", "2.0.11", "dist/htmx.min.js", "htmx-LICENSE.txt"),
    "htmx-ext-sse-2.2.4.min.js": ("htmx-ext-sse", "2.2.4", "dist/sse.min.js", "htmx-ext-sse-LICENSE.txt"),
}


def test_every_script_of_others_is_listed():
    assert {f.name for f in STATIC.glob("*.js")} - set(SCRIPTS) == {"ui.js"}
    for _, _, _, licence in SCRIPTS.values():
        assert "permission to use" in (STATIC / licence).read_text().lower()


@pytest.mark.thorough
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_that_of_its_package(tmp_path, name):
    package, version, path, licence = SCRIPTS[name]
    problem = "" if shutil.which("npm") else "no npm"
    if not problem:
        command = ["npm", "pack", f"{package}@{version}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
        problem = done.stderr[-300:] if done.returncode else ""
    if problem:
        assert os.environ.get("CI") != "true", problem
        pytest.skip(f"the package cannot be had: {problem}")
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as packed:
        for inside, ours in ((path, name), ("LICENSE", licence)):
            assert packed.extractfile(f"package/{inside}").read() == (STATIC / ours).read_bytes()
