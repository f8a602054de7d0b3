"""The templates of CI systems: they render for each choice, follow the schemas, and give no job more than it needs."""

import importlib.util
import itertools
import json
import os
import re
from importlib.resources import files
from pathlib import Path

import pytest
from jsonschema import Draft7Validator

from tests.ci.runners import read
from trueup.project.choices import Choices
from trueup.project.init import write_project
from trueup.project.upgrade import compare

ROOT = Path(__file__).parents[2]
DEPLOYS = ("process", "docker", "kubernetes")
PINNED = re.compile(r"[\w.-]+/[\w.-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")


@pytest.fixture(scope="module", params=itertools.product(("github", "gitlab"), DEPLOYS), ids="-".join)
def project(request, tmp_path_factory):
    ci, deploy = request.param
    return write_project(tmp_path_factory.mktemp("ci") / "Shop.eu", Choices("Shop.eu", ci, deploy)).folder


def workflows(project):
    return {file.stem: file for file in (project / ".github" / "workflows").glob("*.yml")}


def check(name, content):
    """Compare with a schema of SchemaStore, in the package check-jsonschema."""
    if importlib.util.find_spec("check_jsonschema") is None and not os.environ.get("CI"):
        pytest.skip("check-jsonschema is not installed; `make lock setup` installs it")
    schema = json.loads((files("check_jsonschema") / f"builtin_schemas/vendor/{name}.json").read_text())
    assert [f"{list(e.absolute_path)}: {e.message[:200]}" for e in Draft7Validator(schema).iter_errors(content)] == []


def test_the_files_follow_the_schemas_of_their_hosts(project):
    if (project / ".github").is_dir():
        assert set(workflows(project)) == {"pull_request", "comment", "staging", "production", "rollback", "nightly"}
        for file in workflows(project).values():
            check("github-workflows", read(file))
        check("github-actions", read(project / ".github" / "actions" / "setup" / "action.yml"))
    else:
        check("gitlab-ci", read(project / ".gitlab-ci.yml"))


def test_every_job_has_a_time_limit_and_the_text_is_plain(project):
    if (project / ".gitlab-ci.yml").exists():
        jobs = read(project / ".gitlab-ci.yml")
        for name, job in jobs.items():
            if isinstance(job, dict) and "script" in job:
                assert job.get("timeout") or jobs[job["extends"]]["timeout"], name
                assert job["stage"] in jobs["stages"]
        return
    for name, file in workflows(project).items():
        content, text = read(file), file.read_text()
        assert content["permissions"] == {}, name
        assert "concurrency" in content, name
        for job in content["jobs"].values():
            assert job["timeout-minutes"] <= 90, name
            assert job["permissions"], name
        assert not re.search(r"[ \t]$", text, re.MULTILINE), name
        assert not re.search(r"python-version: [\d.]+$", text, re.MULTILINE), "YAML reads 3.10 as 3.1"


def test_actions_are_pinned_and_no_expression_is_in_a_script(project):
    for file in (project / ".github").rglob("*.yml"):  # GitLab has no actions
        for line in re.findall(r"uses: (.*)", file.read_text()):
            assert line.startswith("./") or PINNED.fullmatch(line), line
        content = read(file)
        jobs = content.get("jobs", {"": content.get("runs")})
        for step in (step for job in jobs.values() for step in job["steps"]):
            assert "${{" not in step.get("run", ""), "it would run as code"
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_code_of_a_pull_request_meets_no_secret_and_no_right_to_write(project):
    if not (project / ".github").is_dir():
        jobs = read(project / ".gitlab-ci.yml")
        assert jobs["comment"]["variables"]["GIT_STRATEGY"] == "none"
        assert jobs["comment"]["environment"] == {"name": "reports", "action": "access"}
        assert "environment" not in jobs["compare"]
        return
    files = workflows(project)
    assert "pull_request_target" not in "".join(file.read_text() for file in files.values())
    assert "secrets." not in files["pull_request"].read_text()
    assert "github.token" not in files["pull_request"].read_text()
    assert read(files["pull_request"])["jobs"]["compare"]["permissions"] == {"contents": "read"}
    (comment,) = read(files["comment"])["jobs"].values()
    assert comment["permissions"] == {"actions": "read", "pull-requests": "write"}
    used = [step["uses"].split("@")[0] for step in comment["steps"] if "uses" in step]
    assert used == ["actions/download-artifact"], "it checks out and installs nothing"
    nightly = read(files["nightly"])["jobs"]
    assert nightly["issue"]["permissions"] == {"issues": "write"}
    assert "secrets" not in str(nightly["issue"])
    assert "issues" not in nightly["audit"]["permissions"]


def test_secrets_are_in_jobs_of_an_environment_and_none_is_a_key_of_a_cloud(project):
    if not (project / ".github").is_dir():
        jobs = read(project / ".gitlab-ci.yml")
        assert {jobs[name]["environment"] for name in ("staging", "production", "rollback")} == {"staging", "prod"}
        assert "AWS_SECRET" not in (project / ".gitlab-ci.yml").read_text()
        return
    for file in workflows(project).values():
        assert "AWS_SECRET" not in file.read_text()
        for job in read(file)["jobs"].values():
            named = set(re.findall(r"secrets\.(\w+)", str(job)))
            assert not named or job["environment"] in {"staging", "prod", "prod-audit"}
            where = "STAGING_" if job.get("environment") == "staging" else "PROD_"
            assert all(name.startswith((where, "PREFECT_API_AUTH")) for name in named)


@pytest.mark.parametrize("environment", ["staging", "prod"])
def test_each_variable_of_an_environment_is_given_to_its_jobs(tmp_path, environment):
    made = write_project(tmp_path / "shop", Choices("shop", "github")).folder
    wanted = set(re.findall(r"\$\{(\w+)\}", (made / "environments" / f"{environment}.yaml").read_text())) - {"NAME"}
    for file in workflows(made).values():
        for job in read(file)["jobs"].values():
            if job.get("environment", "").startswith(environment):
                assert wanted == set(job["env"]) - {"PREFECT_API_AUTH_STRING"}


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_ci_is_added_to_a_project_and_compared_with_newer_templates(tmp_path, ci, command_line, monkeypatch):
    folder = write_project(tmp_path / "shop", Choices("shop", deploy="kubernetes")).folder
    (folder / "Makefile").write_text("mine:\n")
    (folder / "configs" / "example_data.py").unlink()
    monkeypatch.chdir(folder)
    done = command_line(folder)("init", ".", "--ci", ci)
    assert done.code == 0, done.err
    assert f'write ci = "{ci}" into [tool.trueup] of pyproject.toml' in " ".join(done.out.split())
    assert (folder / "Makefile").read_text() == "mine:\n"
    assert not (folder / "configs" / "example_data.py").exists(), "the user has deleted it"
    file = folder / {"github": ".github/workflows/staging.yml", "gitlab": ".gitlab-ci.yml"}[ci]
    assert "kubectl" in file.read_text(), "the project's own kind of deployment"
    metadata = folder / "pyproject.toml"
    metadata.write_text(metadata.read_text().replace('ci = "none"', f'ci = "{ci}"'))
    file.write_text(file.read_text() + "# mine\n")
    changed = {d.path for d in compare(folder).differences}
    assert changed == {"Makefile", str(file.relative_to(folder))}


def test_the_step_that_writes_is_the_command_ci_post():
    """It runs where nothing is installed, so it may import only the standard library."""
    import ast
    import sys

    source = (ROOT / "trueup" / "ci" / "servers" / "post.py").read_text()
    imported = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).split(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert imported <= sys.stdlib_module_names
    assert "${{" not in source
