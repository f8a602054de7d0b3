"""Where a command's work runs: in its own process where no server is configured, else as the project's flow."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trueup.errors import UsageError
from trueup.orchestration.start import project_flow

ROOT = Path(__file__).parents[2]

_RUN = """
import sys
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

    again = run(trueup)
    assert json.loads(again.stdout)["decided"] == json.loads(done.stdout.splitlines()[-1])["decided"]
    assert "mlflow" not in again.stderr.split("loaded:")[1]


def test_where_the_server_does_not_answer_the_error_says_what_to_do(trueup):
    done = run(trueup, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 2
    assert "the Prefect server http://127.0.0.1:9/api does not answer" in done.stderr
    assert "unset PREFECT_API_URL" in done.stderr


_FILES = [
    (".env", "PREFECT_API_URL=http://127.0.0.1:9/api\n"),
    ("prefect.toml", 'api.url = "http://127.0.0.1:9/api"\n'),
    ("prefect.toml", 'api = {url = "http://127.0.0.1:9/api"}\n'),
    ("pyproject.toml", '[tool.prefect]\napi.url = "http://127.0.0.1:9/api"\n'),
]
# Prefect reads its files when it is imported: each folder has a process, forked from one that has imported the rest.
_ADDRESSES = """
import os, pydantic_settings, httpx
from trueup.orchestration.environment import server_address
for number in range(4):
    if os.fork() == 0:
        os.chdir(str(number))
        print(number, server_address(), flush=True)
        os._exit(0)
    os.wait()
"""


def test_a_server_in_a_settings_file_of_prefects_is_found_however_it_is_written(trueup):
    for number, (name, text) in enumerate(_FILES):
        (trueup.folder / str(number)).mkdir()
        (trueup.folder / str(number) / name).write_text(text)
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", _ADDRESSES], cwd=trueup.folder, env=inherited, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [f"{number} http://127.0.0.1:9/api" for number in range(len(_FILES))]


def test_people_are_told_of_a_run_that_failed_without_a_server(trueup, answering):
    server = answering(200)
    (trueup.folder / "configs" / "data" / "stream.csv").write_text("t\n")
    done = run(trueup, TRUEUP_NOTIFY=server.url.replace("http", "json"))
    assert done.returncode != 0
    (told,) = server.bodies
    assert told["title"] == "Trueup: run toy failed"


def test_a_flow_finds_the_tasks_beside_it_without_help_of_the_environment(trueup):
    """As in the process of a worker: Prefect has the project on the path only while it imports the flow."""
    code = (
        "import os\n"
        f"os.chdir({str(ROOT)!r})\n"
        "from datetime import datetime\n"
        "from prefect.flows import load_flow_from_entrypoint\n"
        "run = load_flow_from_entrypoint('flows.run:run', use_placeholder_flow=False)\n"
        "with sys.modules[run.fn.__module__].opened('toy', datetime(2024, 1, 15)):\n"
        "    import tasks\n"
        "print(tasks.__file__)"
    )
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH" and not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-P", "-c", "import sys\n" + code],
        cwd=trueup.folder,
        env=alone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == str(ROOT / "tasks" / "__init__.py"), done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no deployment"),
        ("- a: [", "is not YAML"),
        ("deployments: [{entrypoint: a.x:run}, {entrypoint: b.x:run}]", "several flows"),
    ],
)
def test_a_prefect_yaml_that_names_no_flow_says_so(trueup, monkeypatch, text, said):
    monkeypatch.chdir(trueup.folder)
    (trueup.folder / "prefect.yaml").write_text(text)
    with pytest.raises(UsageError, match=said):
        project_flow("run", "toy")


def test_a_model_has_the_flow_of_its_own_deployment(trueup, monkeypatch):
    monkeypatch.chdir(trueup.folder)
    file = trueup.folder / "prefect.yaml"
    file.write_text("deployments: [{entrypoint: a.x:run}, {entrypoint: 'flows.run:run', parameters: {model: toy}}]")
    assert project_flow("run", "toy").name == "run"


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


def test_commands_that_only_look_load_no_heavy_library(trueup):
    looks = [["--help"], ["status"], ["ledger", "show"], ["quarantine", "list", "toy"]]
    heavy = "mlflow sklearn great_expectations prefect evidently matplotlib"
    code = (
        "import sys\n"
        "from trueup.cli.main import main\n"
        f"for words in {looks!r}:\n"
        "    sys.argv = ['trueup', *words]\n"
        "    try:\n        main()\n        code = 0\n"
        "    except SystemExit as end:\n        code = end.code or 0\n"
        f"    print(code, words, sorted(set({heavy!r}.split()) & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=trueup.folder, capture_output=True, text=True, check=False)
    assert done.stderr.splitlines() == [f"0 {words} []" for words in looks]
