"""Runs the jobs of rendered workflows on this machine, as runners of GitHub and GitLab do.

Steps that are commands run as they are written. Steps that are actions are replaced by what they do here: `git clone`, the
virtual environment of the tests, and copies of artifacts.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@dataclass
class Done:
    """A job that has ended. `codes` are the exit codes of its commands, by the command."""

    codes: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    output: str = ""
    summary: str = ""
    result: str = "success"


def read(file: Path) -> Any:
    """A YAML file; `on` stays a word."""
    return YAML(typ="safe", pure=True).load(file)


def environment(place: Path, **more: str) -> dict[str, str]:
    """What each runner sets. Nothing of the tests' own environment but the way to the code and to tools."""
    (place / "account").mkdir(exist_ok=True)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(place / "account"),
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CI": "true",
        **more,
    }


def clone(bare: Path, commit: str, workspace: Path) -> None:
    """A working tree of a commit, with a virtual environment that `make setup` finds complete."""
    if not workspace.exists():
        subprocess.run(["git", "clone", "--quiet", str(bare), str(workspace)], check=True)
    subprocess.run(["git", "fetch", "--quiet", "origin"], cwd=workspace, check=True)
    subprocess.run(["git", "checkout", "--quiet", "--detach", commit], cwd=workspace, check=True)
    venv = workspace / ".venv"
    if not venv.exists():
        venv.mkdir()
        (venv / "bin").symlink_to(Path(sys.prefix) / "bin")
    (venv / ".ready").touch()  # newer than the lock


class GitHub:
    """Runs a job of a workflow. `context` holds github, secrets, vars, inputs and needs."""

    def __init__(self, bare: Path, place: Path, context: dict[str, Any]) -> None:
        self.bare, self.place, self.context = bare, place, context
        self.artifacts = place / "artifacts"

    def job(self, file: Path, name: str, **context: Any) -> Done:
        """Run a job of a workflow file in a new folder, unless its checkout keeps what is there."""
        job = read(file)["jobs"][name]
        self.now = {**self.context, **context, "steps": {}, "env": {}}
        self.github = self.now["github"]
        self.workspace = self.place / ("kept" if "clean: false" in file.read_text() else "workspace")
        if self.workspace.name == "workspace":
            shutil.rmtree(self.workspace, ignore_errors=True)
        self.workspace.mkdir(exist_ok=True)
        self.variables = environment(
            self.place,
            GITHUB_WORKSPACE=str(self.workspace),
            GITHUB_REPOSITORY=self.github["repository"],
            GITHUB_SERVER_URL="https://github.com",
            GITHUB_API_URL=self.github["api_url"],
            GITHUB_RUN_ID=str(self.github["run_id"]),
            GITHUB_ACTOR=self.github["actor"],
            GITHUB_STEP_SUMMARY=str(self.place / "summary"),
            GITHUB_OUTPUT=str(self.place / "output"),
        )
        self.variables |= {key: self.filled(value) for key, value in job.get("env", {}).items()}
        (self.place / "summary").write_text("")
        self.done, self.failed = Done(), False
        for step in job["steps"]:
            self._step(step)
        self.done.summary = (self.place / "summary").read_text()
        self.done.outputs |= {key: self.filled(value) for key, value in job.get("outputs", {}).items()}
        self.done.result = "failure" if self.failed else "success"
        return self.done

    def _step(self, step: dict[str, Any]) -> None:
        condition = step.get("if", "success()")
        if not self._holds(condition) or (self.failed and "always()" not in condition):
            return
        code = self._action(step) if "uses" in step else self._command(step)
        outcome = "failure" if code else "success"
        if "id" in step:
            self.now["steps"][step["id"]] = {"outcome": outcome, "outputs": self._outputs()}
        if code and not step.get("continue-on-error"):
            self.failed = True

    def _outputs(self) -> dict[str, str]:
        file = self.place / "output"
        lines = file.read_text().splitlines() if file.exists() else []
        return dict(line.split("=", 1) for line in lines)

    def _command(self, step: dict[str, Any]) -> int:
        script, shell = step["run"], step.get("shell", "sh")
        assert "${{" not in script, "an expression in a script would run as code"
        file = self.place / "script"
        file.write_text(script)
        interpreter = {
            "sh": ["bash", "-e"],
            "bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail"],
            "python": [sys.executable],
        }[shell]
        own = {key: self.filled(value) for key, value in step.get("env", {}).items()}
        (self.place / "output").write_text("")
        done = subprocess.run(
            [*interpreter, str(file)],
            cwd=self.workspace,
            env=self.variables | own,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.done.codes[script.splitlines()[0]] = done.returncode
        self.done.output += f"$ {script.splitlines()[0]}\n{done.stdout}"
        return done.returncode

    def _action(self, step: dict[str, Any]) -> int:
        what, given = step["uses"].split("@")[0], {k: self.filled(v) for k, v in step.get("with", {}).items()}
        if what == "actions/checkout":
            assert given["persist-credentials"] == "False", "the token must not stay in the checkout"
            if not (self.workspace / ".git").exists():
                self.workspace.rmdir()
            clone(self.bare, given.get("ref") or self.github["sha"], self.workspace)
        elif what.startswith("./"):
            for inner in read(self.workspace / what / "action.yml")["runs"]["steps"]:
                self._step(inner)
        elif what == "actions/upload-artifact":
            source, target = self.workspace / given["path"], self.artifacts / given["name"]
            shutil.rmtree(target, ignore_errors=True)
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.is_file():
                target.mkdir(parents=True)
                shutil.copy(source, target)
        elif what == "actions/download-artifact":
            if not (self.artifacts / given["name"]).is_dir():
                return 1
            shutil.copytree(self.artifacts / given["name"], self.workspace / given.get("path", "."), dirs_exist_ok=True)
        else:
            assert what in {"actions/setup-python", "actions/cache"}, f"{what} is not replaced here"
        return 0

    def filled(self, text: Any) -> str:
        """A value with its expressions evaluated."""
        return re.sub(r"\$\{\{\s*(.*?)\s*\}\}", lambda found: self._value(found[1]), str(text))

    def _value(self, expression: str) -> str:
        """A path, a literal, or the first of several that is not empty."""
        for part in expression.split(" || "):
            value = part[1:-1] if part.startswith("'") else self._looked_up(part)
            if value:
                return value
        return ""

    def _looked_up(self, path: str) -> str:
        if path.startswith("hashFiles("):
            return "hash"
        found: Any = self.now
        for name in path.split("."):
            found = found.get(name, "") if isinstance(found, dict) else ""
        return str(found)

    def _holds(self, condition: str) -> bool:
        for part in condition.split(" && "):
            if part in {"always()", "success()"}:
                continue
            left, sign, right = part.split(" ", 2)
            if (self._value(left) == right.strip("'")) != (sign == "=="):
                return False
        return True

    def starts(self, file: Path, name: str, **context: Any) -> bool:
        """Whether the condition of a job holds."""
        self.now = {**self.context, **context}
        return self._holds(read(file)["jobs"][name].get("if", "success()"))


class GitLab:
    """Runs a job of .gitlab-ci.yml."""

    def __init__(self, bare: Path, place: Path, **variables: str) -> None:
        self.bare, self.place, self.variables = bare, place, variables
        self.artifacts = place / "artifacts"
        self.artifacts.mkdir(exist_ok=True)

    def job(self, file: Path, name: str, commit: str, **variables: str) -> Done:
        """Run before_script and script as one script, in a new working tree."""
        jobs = read(file)
        job = jobs[name]
        for parent in [jobs[job["extends"]]] if "extends" in job else []:
            job = {**parent, **job, "variables": {**parent.get("variables", {}), **job.get("variables", {})}}
        workspace = self.place / "workspace"
        shutil.rmtree(workspace, ignore_errors=True)
        own = {key: str(value) for key, value in job.get("variables", {}).items()}
        workspace.mkdir() if own.get("GIT_STRATEGY") == "none" else clone(self.bare, commit, workspace)
        shutil.copytree(self.artifacts, workspace, dirs_exist_ok=True)
        known = {"CI_PROJECT_DIR": str(workspace), **self.variables, **variables}
        own = {key: re.sub(r"\$(\w+)", lambda found: known.get(found[1], ""), value) for key, value in own.items()}
        dotenv = self.artifacts / "outcome.env"
        passed = dict(line.split("=", 1) for line in dotenv.read_text().splitlines()) if dotenv.exists() else {}
        script = "\n".join([*job.get("before_script", []), *job["script"]])
        done = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", script],
            cwd=workspace,
            env=environment(self.place, **known, **own, **passed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        kept = job.get("artifacts", {})
        for path in [*kept.get("paths", []), *kept.get("reports", {}).values()]:
            source, target = workspace / path, self.artifacts / path
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True)
            elif source.is_file():
                target.parent.mkdir(exist_ok=True)
                shutil.copy(source, target)
        return Done({name: done.returncode}, output=done.stdout, result="failure" if done.returncode else "success")
