"""Requests that schemathesis makes from the server's own OpenAPI: what is valid is taken, what is not is refused as described."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.serving.test_process import serving

pytestmark = pytest.mark.thorough
HOOKS = Path(__file__).with_name("schemathesis_hooks.py")


# Too many rows are answered with 413, which schemathesis does not count as a refusal.
TOO_MANY_ROWS = """
[checks]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429, "5xx"]
"""


def test_the_server_does_what_its_openapi_says(shop, tmp_path):
    if find_spec("schemathesis") is None:
        reason = "schemathesis is not installed; `make setup` installs it"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    (tmp_path / "schemathesis.toml").write_text(TOO_MANY_ROWS)
    with serving(shop.branch(tmp_path), "toy") as (port, process):
        command = [sys.executable, "-W", "ignore", "-m", "schemathesis.cli", "run"]
        command += [f"http://127.0.0.1:{port}/openapi.json", "--checks", "all", "--seed", "1", "--max-examples", "60"]
        command += ["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all", "--no-color"]
        done = subprocess.run(
            command,
            env={**os.environ, "SCHEMATHESIS_HOOKS": str(HOOKS)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        assert "\N{CROSS MARK}" not in done.stdout  # nor a phase that failed; a token without rights is only a warning
        assert process.poll() is None
