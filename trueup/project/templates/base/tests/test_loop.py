"""One turn of the loop in an empty home, with the data that each config names."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trueup.config.load import model_names

PROJECT = Path(__file__).parents[1]


@pytest.mark.parametrize("model", model_names(PROJECT / "configs"))
def test_the_loop_turns(model, tmp_path):
    own = {"TRUEUP_HOME": str(tmp_path / "home"), "TRUEUP_REPORTS": "false", "OMP_NUM_THREADS": "1"}
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_API"))}
    done = subprocess.run(
        [sys.executable, "-m", "trueup", "run", model, "--json"],
        cwd=PROJECT,
        env=outside | own,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr  # a broken batch, or a failed stage
    assert json.loads(done.stdout.splitlines()[-1])["batches"], "no batch was complete"
