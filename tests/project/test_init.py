"""`trueup init` and `trueup upgrade`: a project of one's own, from the templates."""

import itertools
import os
import subprocess
import sys
import tomllib
from pathlib import Path, PurePosixPath
from typing import get_args

import pytest
from ruamel.yaml import YAML

from tests.editors import marked
from trueup.config.load import load_model, model_names
from trueup.config.project import enter, project_root
from trueup.errors import UsageError
from trueup.orchestration import start
from trueup.project.choices import Choices, Ci, Deploy, Example, choices_of
from trueup.project.init import write_project
from trueup.project.rendering import rendered
from trueup.project.upgrade import compare

ROOT = Path(__file__).parents[2]
ALL = list(itertools.product(get_args(Ci), get_args(Deploy), get_args(Example)))


def trueup(*words, cwd, **environment):
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "PREFECT_API"))}
    return subprocess.run(
        [sys.executable, "-m", "trueup", *map(str, words)],
        cwd=cwd,
        env={**outside, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(("ci", "deploy", "example"), ALL)
def test_every_combination_gives_a_project_without_mistakes(tmp_path, ci, deploy, example):
    made = write_project(tmp_path / "shop", Choices("shop", ci, deploy, example))
    configs = made.folder / "configs"
    assert [load_model(configs, name).model for name in model_names(configs)] == made.models
    assert choices_of(made.folder) == Choices("shop", ci, deploy, example)
    pinned = tomllib.loads((made.folder / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [name.startswith("trueup[") and "==" in name for name in pinned] == [True] + [False] * (len(pinned) - 1)
    assert [name.split(">")[0] for name in pinned[1:]] == (["prefect-kubernetes"] if deploy == "kubernetes" else [])
    assert all(marked((configs / f"{name}.yaml").read_text()) == [] for name in made.models)
    assert (configs / ".schema" / "config.json").is_file()
    content = YAML(typ="safe").load(made.folder / "prefect.yaml")
    assert content["definitions"]["pool"]["name"] == {"kubernetes": "kubernetes"}.get(deploy, "local")
    flows = {d["entrypoint"] for d in content["deployments"]}
    assert all((made.folder / f"{flow.split(':')[0].replace('.', '/')}.py").is_file() for flow in flows)
    written = [file for file in made.folder.rglob("*") if file.is_file()]
    assert all("<%" not in file.read_text() and "%>" not in file.read_text() for file in written)
    assert all([*YAML(typ="safe").load_all(file)] for file in written if file.suffix == ".yaml")
    goals = subprocess.run(["make", "help"], cwd=made.folder, capture_output=True, text=True, check=True).stdout
    assert ("make image" in goals) == (made.folder / "Dockerfile").is_file() == (deploy != "process")
    assert compare(made.folder).differences == []


def test_this_repository_is_such_a_project():
    """Its flows, tasks, deployments and flights are the templates, so that what is tested here is what projects get."""
    texts = rendered(Choices("trueup", example="flights"))
    same = [p for p in texts if p.parts[0] in {"flows", "tasks", "configs"}]
    assert len(same) > 15
    for path in same:
        assert (ROOT / path).read_text() == texts[path], f"copy {path} to its template, or back"
    for folder in ("flows", "tasks"):
        assert {PurePosixPath(folder, p.name) for p in (ROOT / folder).glob("*.py")} <= set(texts)
    locked = [line.split(" \\")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line]
    assert texts[PurePosixPath("constraints.txt")].splitlines() == locked, "run `make lock`"
    shared = texts[PurePosixPath("prefect.yaml")].split("\ndefinitions:")[1].split("\n  # Models")[0]
    for ours, theirs in (
        ("image: trueup:local", "image: trueup:local"),
        ("docs/how-to/workers.md shows", 'Trueup\'s how-to "Workers on several machines" shows'),
    ):
        shared = shared.replace(theirs, ours)
    assert shared in (ROOT / "prefect.yaml").read_text()


def test_a_folder_with_other_files_is_refused_and_stays(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"has files \(notes.txt\) and no prefect.yaml"):
        write_project(tmp_path, Choices("shop"))
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_in_a_project_only_missing_files_are_written(tmp_path):
    write_project(tmp_path / "shop", Choices("shop"))
    (tmp_path / "shop" / "flows" / "run.py").write_text("# mine\n")
    (tmp_path / "shop" / "flows" / "watch.py").unlink()
    again = write_project(tmp_path / "shop", Choices("shop"))
    assert again.written == ["flows/watch.py"]
    assert "flows/run.py" in again.left
    assert (tmp_path / "shop" / "flows" / "run.py").read_text() == "# mine\n"


def test_upgrade_shows_what_differs_and_overwrites_nothing(tmp_path):
    made = write_project(tmp_path / "shop", Choices("shop"))
    run, watch, deployments = (made.folder / n for n in ("flows/run.py", "flows/watch.py", "prefect.yaml"))
    run.write_text(run.read_text().replace("cycle(tasks", "cycle(own_tasks"))
    watch.unlink()
    deployments.write_text(deployments.read_text() + "  # a model of the user's\n")
    (made.folder / "README.md").write_text("mine")
    (made.folder / "configs" / ".schema" / "config.json").write_text("{}")
    before = run.read_text()
    done = trueup("upgrade", cwd=made.folder / "configs")
    assert done.returncode == 0, done.stderr
    assert "+        done = cycle(tasks, o.model" in done.stdout
    assert "flows/watch.py is missing" in done.stdout
    assert "config.json is of another version; `trueup schema --write` writes it anew" in " ".join(done.stdout.split())
    changed = ["flows/run.py", "flows/watch.py", "configs/.schema/config.json"]
    assert [d.path for d in compare(made.folder).differences] == changed
    assert trueup("schema", "--write", cwd=made.folder).returncode == 0
    for words, name in [((), "config.json"), (("environment",), "environment.json")]:
        assert trueup("schema", *words, cwd=made.folder).stdout == (made.folder / "configs/.schema" / name).read_text()
    assert [d.path for d in compare(made.folder).differences] == changed[:2]
    assert run.read_text() == before
    assert not watch.exists()


def test_a_project_that_no_template_made_is_refused_with_the_next_step(tmp_path):
    with pytest.raises(UsageError, match=r"there is no .*pyproject.toml; change to a project"):
        compare(tmp_path)
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n[tool.trueup]\nci = "jenkins"\n')
    with pytest.raises(UsageError, match=r"ci = 'jenkins', deploy = None, example = None; ci is one of github"):
        compare(tmp_path)


def test_commands_find_the_project_above(tmp_path, monkeypatch):
    made = write_project(tmp_path / "shop", Choices("shop"))
    below = made.folder / "notebooks" / "old"
    below.mkdir(parents=True)
    done = trueup("check", "example", "--json", cwd=below)
    assert done.returncode == 0, done.stderr
    assert not (below / ".trueup").exists()
    environment = {"TRUEUP_CONFIGS": "elsewhere"}
    monkeypatch.chdir(below)
    enter(environment)
    assert environment == {"TRUEUP_CONFIGS": "elsewhere", "TRUEUP_HOME": str(made.folder / ".trueup")}
    assert start.project_flow("run").name == "run"
    sys.path.remove(str(made.folder))


def test_a_project_above_of_somebody_else_is_not_used(tmp_path, monkeypatch):
    made = write_project(tmp_path / "shop", Choices("shop"))
    below = made.folder / "notebooks"
    below.mkdir()
    assert project_root(below) == made.folder
    monkeypatch.setattr(os, "getuid", lambda: made.folder.stat().st_uid + 1)
    assert project_root(below) == below
    assert project_root(made.folder) == made.folder


def test_from_a_table_the_first_model_is_its_own(tmp_path):
    from tests import streams

    streams.Stream(days=120, per_day=30).frame().to_csv(tmp_path / "My Orders.csv", index=False)
    words = ("init", "shop", "--from", "My Orders.csv", "--time", "t", "--label", "y", "--key", "id", "--json")
    done = trueup(*words, "--label-available-after", "1 day", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    project = tmp_path / "shop"
    assert model_names(project / "configs") == ["my_orders"]
    names = {
        (d.get("parameters") or {}).get("model") for d in YAML(typ="safe").load(project / "prefect.yaml")["deployments"]
    }
    assert "my_orders" in names
    check = trueup("check", "my_orders", cwd=project)
    assert check.returncode == 0, check.stderr
    wrong = trueup("init", "other", "--from", "My Orders.csv", "--time", "t", "--label", "nope", cwd=tmp_path)
    assert wrong.returncode == 2
    assert not (tmp_path / "other").exists(), "nothing is written for a table that cannot be used"
    assert "--from needs --time and --label" in trueup("init", "x", "--from", "a.csv", cwd=tmp_path).stderr


def test_a_projects_environments_say_all_that_is_missing_at_once(tmp_path):
    made = write_project(tmp_path / "shop", Choices("shop"))
    done = trueup("check", "example", "--env", "prod", cwd=made.folder)
    assert done.returncode == 2
    assert "prod.yaml: 6 mistakes" in done.stderr
    assert "${PROD_DATABASE_URL} is not set" in done.stderr
    assert not (made.folder / ".trueup").exists()
    secrets = {f"PROD_{name}": "0" * 64 for name in ("LEDGER_KEY", "NOTIFY", "PREFECT_API_URL")}
    places = {"PROD_HOME": str(tmp_path / "prod"), "PROD_DATABASE_URL": f"sqlite:///{tmp_path}/prod.db"}
    there = {**secrets, **places, "PROD_MLFLOW_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    done = trueup("--env=prod", "status", "example", cwd=made.folder, **there)
    assert done.returncode == 0, done.stderr
    assert trueup("check", "example", "--env", "dev", cwd=made.folder).returncode == 0
