"""Completion, asked for as bash and zsh ask: by variables, in a process of its own."""

import os
import subprocess
import sys

import pytest

AS_TRUEUP = "import sys; sys.argv[0] = 'trueup'; from trueup.cli.main import main; main()"


def told(trueup, shell, line, **environment):
    """What a shell is told for a line at whose end Tab is pressed."""
    words = line.split(" ")
    asked = {
        "bash": {"COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)},
        "zsh": {"_TYPER_COMPLETE_ARGS": line},
    }[shell]
    done = subprocess.run(
        [sys.executable, "-c", AS_TRUEUP],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "PREFECT_HOME"}
        | {"_TRUEUP_COMPLETE": f"complete_{shell}", **asked, **environment},
    )
    assert done.stderr == ""
    assert not trueup.home.exists()
    return done.stdout


@pytest.fixture
def several(trueup):
    """A folder with configs of three models."""
    for name in ("tide", "sales"):
        (trueup.folder / "configs" / f"{name}.yaml").write_text("")
    return trueup


@pytest.mark.parametrize(
    ("line", "models"),
    [
        ("trueup run ", {"sales", "tide", "toy"}),
        ("trueup check t", {"tide", "toy"}),
        ("trueup quarantine list to", {"toy"}),
        ("trueup ledger export all.csv --model s", {"sales"}),
        ("trueup replay x", set()),
    ],
)
def test_models_are_completed_from_the_folder_of_configs(several, line, models):
    assert set(told(several, "bash", line).split()) == models
    answer = told(several, "zsh", line)
    assert {name for name in ("sales", "tide", "toy") if f'"{name}"' in answer} == models


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_commands_are_completed(trueup, shell):
    answer = told(trueup, shell, "trueup quar")
    assert "quarantine" in answer
    assert "replay" not in answer


def test_a_wrong_environment_completes_nothing_and_says_nothing(trueup):
    assert told(trueup, "bash", "trueup run ", TRUEUP_HOST="nowhere").strip() == ""


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_is_given_its_script(trueup, shell):
    script = told(trueup, shell, "", _TRUEUP_COMPLETE=f"source_{shell}")
    assert f"_TRUEUP_COMPLETE=complete_{shell}" in script


def test_completing_imports_nothing_heavy(trueup):
    """A Tab is answered within the time of an import."""
    look = "import sys, trueup.cli.main; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    heavy = {
        "prefect",
        "mlflow",
        "great_expectations",
        "evidently",
        "sklearn",
        "scipy",
        "pandas",
        "sqlalchemy",
        "duckdb",
    }
    assert not heavy & set(found), trueup.folder
