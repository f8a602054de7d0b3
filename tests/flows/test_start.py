"""Where a command's work runs: in its own process where no server is configured, else as the project's flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

_RUN = """
import sys

import pytest
from trueup.cli.main import main
sys.argv = ["trueup", "run", "toy", "--as-of", "2024-01-15", "--json"]
try:
    main()
finally:
    print("loaded:", *sorted({"prefect", "mlflow"} & set(sys.modules)), file=sys.stderr)
"""


def run(trueup, **environment: str) -> subprocess.CompletedProcess[str]:
    """`trueup run` in a process and a home of its own, in the folder of a project."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-c", _RUN],
        cwd=trueup.folder,
        env={**inherited, "TRUEUP_HOME": str(trueup.folder / "fresh"), "TRUEUP_REPORTS": "false", **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_without_a_server_a_run_needs_no_prefect_and_says_so(trueup):
    done = run(trueup)
    assert done.returncode == 0, done.stderr
    assert "not on a Prefect server" in done.stderr
    assert "prefect" not in done.stderr.split("loaded:")[1]
    assert json.loads(done.stdout.splitlines()[-1])["batches"]
    assert not (trueup.folder / "fresh" / "prefect").exists()


def test_where_the_server_does_not_answer_the_error_says_what_to_do(trueup):
    done = run(trueup, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert "the Prefect server http://127.0.0.1:9/api does not answer" in done.stderr
    assert "unset PREFECT_API_URL" in done.stderr


def test_a_server_in_a_file_of_prefects_is_found(trueup):
    (trueup.folder / ".env").write_text("PREFECT_API_URL=http://127.0.0.1:9/api\n")
    done = run(trueup)
    assert "the Prefect server http://127.0.0.1:9/api does not answer" in done.stderr


def test_a_folder_without_flows_is_named(trueup, prefect_server, monkeypatch):
    monkeypatch.chdir(trueup.folder)
    done = run(trueup, PREFECT_API_URL=prefect_server, PREFECT_HOME=str(trueup.folder / "prefect"))
    assert done.returncode == 2
    assert "no prefect.yaml" in done.stderr


def test_a_mistake_in_the_arguments_starts_and_writes_nothing(trueup, monkeypatch):
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    answer = trueup.apart("run", "toy", "--as-of", "nonsense", TRUEUP_HOME=str(trueup.folder / "fresh"))
    assert answer.code == 2
    assert not list((trueup.folder / "fresh").rglob("*.db"))


@pytest.mark.parametrize(
    "words", [["--help"], ["status"], ["ledger", "show"], ["quarantine", "list", "toy"]], ids=" ".join
)
def test_commands_that_only_look_load_no_heavy_library(trueup, words):
    heavy = "mlflow sklearn great_expectations prefect evidently matplotlib"
    code = (
        f"import sys; sys.argv = ['trueup', *{words!r}]\n"
        "from trueup.cli.main import main\n"
        "try:\n    main()\nfinally:\n"
        f"    print('loaded:', *sorted(set({heavy!r}.split()) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=trueup.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].split() == ["loaded:"]
