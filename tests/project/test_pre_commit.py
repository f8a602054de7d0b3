"""The hooks for pre-commit: those of a project, and the one that other repositories name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from trueup.project.choices import Choices
from trueup.project.init import write_project

ROOT = Path(__file__).parents[2]
HOOKS = YAML(typ="safe").load((ROOT / ".pre-commit-hooks.yaml").read_text())


def run(*words, cwd, **environment):
    outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "GIT_"))}
    here = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [*map(str, words)],
        cwd=cwd,
        env={**outside, "PYTHONPATH": os.pathsep.join(here), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hook_runs_for_configs_and_their_modules_only():
    (hook,) = HOOKS
    assert (hook["id"], hook["language"], hook["pass_filenames"]) == ("trueup-check", "python", False)
    chosen = ["configs/orders.yaml", "configs/orders_features.py", "configs/shared/columns.py"]
    others = ["flows/run.py", "README.md", "tests/configs/x.yaml", "configs/.schema/config.json"]
    assert [name for name in [*chosen, *others] if re.search(hook["files"], name)] == chosen


def test_a_project_has_the_same_hook_in_its_own_environment(tmp_path):
    made = write_project(tmp_path / "shop", Choices("shop"))
    written = YAML(typ="safe").load((made.folder / ".pre-commit-config.yaml").read_text())
    hooks = {hook["id"]: hook for repo in written["repos"] for hook in repo["hooks"]}
    (ours,) = HOOKS
    assert hooks["trueup-check"]["files"] == ours["files"]
    assert hooks["trueup-check"]["entry"] == f".venv/bin/{ours['entry']}"
    assert set(hooks) == {"trueup-check", "ruff-check", "ruff-format"}


@pytest.mark.parametrize("example", ["made-up", "flights", "none"])
def test_the_templates_pass_the_projects_own_format_and_lint(tmp_path, example):
    made = write_project(tmp_path / "shop", Choices("shop", example=example))
    for words in (("check", "."), ("format", "--check", ".")):
        done = run(sys.executable, "-m", "ruff", *words, cwd=made.folder)
        assert done.returncode == 0, done.stdout


@pytest.mark.thorough
def test_pre_commit_takes_the_manifest(tmp_path):
    clientlib = pytest.importorskip("pre_commit.clientlib")
    (hook,) = clientlib.load_manifest(str(ROOT / ".pre-commit-hooks.yaml"))
    assert hook["entry"] == "trueup check"
    wrong = tmp_path / ".pre-commit-hooks.yaml"
    wrong.write_text((ROOT / ".pre-commit-hooks.yaml").read_text().replace("  entry: trueup check\n", ""))
    with pytest.raises(clientlib.InvalidManifestError, match="entry"):
        clientlib.load_manifest(str(wrong))


@pytest.mark.thorough
def test_a_commit_with_a_mistake_is_refused(tmp_path):
    pytest.importorskip("pre_commit")
    made = write_project(tmp_path / "shop", Choices("shop"))
    folder, git = made.folder, ("git", "-c", "user.name=A", "-c", "user.email=a@example.com")
    (folder / ".venv" / "bin").mkdir(parents=True)
    for tool in ("trueup", "ruff"):
        (folder / ".venv" / "bin" / tool).symlink_to(Path(sys.executable).parent / tool)
    there = {"PRE_COMMIT_HOME": str(tmp_path / "cache")}
    assert run(*git, "init", "-q", cwd=folder).returncode == 0
    assert run(sys.executable, "-m", "pre_commit", "install", cwd=folder, **there).returncode == 0
    run(*git, "add", "-A", cwd=folder)
    done = run(*git, "commit", "-qm", "Begin", cwd=folder, **there)
    assert done.returncode == 0, done.stderr + done.stdout
    config, feature = folder / "configs" / "example.yaml", folder / "configs" / "example_features.py"
    config.write_text(config.read_text().replace("trials: 4", "trails: 4"))
    feature.write_text("import os\n" + feature.read_text())
    run(*git, "add", "-A", cwd=folder)
    done = run(*git, "commit", "-qm", "Break it", cwd=folder, **there)
    said = done.stderr + done.stdout
    assert done.returncode == 1
    assert "train.trails: unknown key; did you mean `trials`?" in " ".join(said.split())
    assert "`os` imported but unused" in said
    assert run("git", "log", "--oneline", cwd=folder).stdout.count("\n") == 1
