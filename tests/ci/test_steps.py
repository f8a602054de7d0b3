"""Every command of the rendered workflows, in a bare Git repository with branches that make a model better, worse, and leak."""

import os
import signal
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.ci.hosts import TOKEN, serving
from tests.ci.runners import GitHub, GitLab, read
from tests.ci.shop import CONFIG, DATA, git
from trueup.project.choices import Choices
from trueup.project.init import write_project

# Weight counts for more than in the shop of the other tests, so that its loss is shown on few rows.
ORDERS = DATA.replace("-2.5 + 0.006 * distance + 0.12 * weight", "-4.0 + 0.006 * distance + 0.35 * weight")
BASE = CONFIG.replace("numeric: [weight_kg]", "numeric: [distance_km]") + "retrain: {every: 7 days}\n"
BRANCHES = {
    "better": ("[distance_km]", "[distance_km, weight_kg]"),
    "worse": ("[distance_km]", "[]"),
    "leak": ("[distance_km]", "[distance_km, refund_eur]"),
}


class Project:
    """A project that `trueup init --ci` has written, in a clone and pushed to a bare repository."""

    def __init__(self, folder: Path, ci: str) -> None:
        self.bare, self.clone, self.folder = folder / "shop.git", folder / "shop", folder
        choices = Choices("shop", ci, example="none")
        git(folder, "init", "--quiet", "--bare", "-b", "main", str(self.bare))
        write_project(self.clone, choices)
        (self.clone / "configs" / "orders_data.py").write_text(ORDERS)
        (self.clone / "configs" / "orders.yaml").write_text(BASE)
        locked = {
            found.name: found.version for found in distributions()
        }  # what is installed, so that nothing is to be made
        (self.clone / "requirements.lock").write_text("".join(f"{name}=={locked[name]}\n" for name in sorted(locked)))
        subprocess.run([Path(sys.prefix) / "bin" / "ruff", "format", "--quiet", self.clone / "configs"], check=True)
        write_project(self.clone, choices)  # the deployments of the model
        git(self.clone, "init", "--quiet", "-b", "main")
        git(self.clone, "remote", "add", "origin", str(self.bare))
        self.commit()
        git(self.clone, "push", "--quiet", "origin", "main")

    def commit(self) -> str:
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "-m", "a change")
        return git(self.clone, "rev-parse", "HEAD")

    def push(self, branch: str, old: str, new: str) -> str:
        """A commit on a branch, which begins at main."""
        known = git(self.clone, "branch", "--list", branch)
        git(self.clone, "checkout", "--quiet", *(() if known else ("-b",)), branch, *(() if known else ("main",)))
        file = self.clone / "configs" / "orders.yaml"
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, new))
        commit = self.commit()
        git(self.clone, "push", "--quiet", "origin", branch)
        return commit


@pytest.fixture
def host():
    with serving() as host:
        yield host


def on_github(project, host, **more):
    github = {
        "repository": "o/shop",
        "api_url": host.url,
        "run_id": 5,
        "actor": "ada",
        "token": TOKEN,
        "sha": "origin/main",
    }
    place = project.folder / "runner"
    place.mkdir(exist_ok=True)
    return GitHub(project.bare, place, {"github": github, "vars": {}, "secrets": {}, "runner": {}, **more})


def workflow(project, name):
    return project.clone / ".github" / "workflows" / f"{name}.yml"


def pull_request(project, host, number, branch, commit):
    """What a push to a pull request starts on GitHub: the comparison and the comment."""
    host.pulls = [p for p in host.pulls if p["number"] != number]
    host.pulls.append({"number": number, "head": {"sha": commit, "ref": branch, "repo": {"full_name": "o/shop"}}})
    runner = on_github(project, host)
    event = {"pull_request": {"number": number, "head": {"sha": commit}, "base": {"ref": "main"}}}
    compared = runner.job(
        workflow(project, "pull_request"), "compare", github={**runner.context["github"], "event": event}
    )
    run = {
        "event": "pull_request",
        "conclusion": compared.result,
        "id": 5,
        "head_sha": commit,
        "head_branch": branch,
        "head_repository": {"full_name": "o/shop"},
    }
    github = {**runner.context["github"], "event": {"workflow_run": run}}
    assert runner.starts(workflow(project, "comment"), "comment", github=github)
    said = runner.job(workflow(project, "comment"), "comment", github=github)
    assert said.result == "success", said.output
    return compared, host.comments[number]


@pytest.mark.thorough
def test_pull_requests_on_github(tmp_path, host):
    project = Project(tmp_path, "github")
    done = {}
    for number, (name, change) in enumerate(BRANCHES.items(), 1):
        done[name] = pull_request(project, host, number, name, project.push(name, *change))
    compared, (comment,) = done["better"]
    assert list(compared.codes.values()) == [0] * 5, compared.output
    assert "✅ better" in comment["body"]
    assert comment["body"].replace("\u200b", "") == compared.summary.replace("\u200b", ""), "as it was written"
    for name, sign in (("worse", "❌ worse"), ("leak", "🚨 leak")):
        compared, (comment,) = done[name]
        assert compared.result == "failure"
        codes = {command.split(" --")[0]: code for command, code in compared.codes.items()}
        assert codes[".venv/bin/trueup ci compare"] == 1, compared.output
        assert [code for command, code in codes.items() if "compare" not in command] == [0] * 4
        assert sign in comment["body"].splitlines()[1], compared.output

    git(project.clone, "checkout", "--quiet", "better")
    (project.clone / "flows" / "run.py").write_text("import  os\n")
    compared, (comment,) = pull_request(project, host, 1, "better", _pushed(project, "better"))
    assert compared.result == "failure"
    assert compared.codes["make lint"] != 0
    assert "The comparison ended without a result (failure)" in comment["body"], "the older verdict is replaced"
    assert "[run](https://github.com/o/shop/actions/runs/5)" in comment["body"]
    (project.clone / "requirements.lock").unlink()
    compared, _ = pull_request(project, host, 1, "better", _pushed(project, "better"))
    assert next(command for command, code in compared.codes.items() if code).startswith("git ls-files --error-unmatch")


def _pushed(project, branch):
    commit = project.commit()
    git(project.clone, "push", "--quiet", "origin", branch)
    return commit


@pytest.fixture
def environments(tmp_path):
    """The secrets of staging and prod, each with a home and databases of its own."""

    def secrets(server):
        found = {}
        for name in ("STAGING", "PROD"):
            place = tmp_path / name.lower()
            found |= {
                f"{name}_HOME": str(place),
                f"{name}_DATABASE_URL": f"sqlite:///{place}/trueup.db",
                f"{name}_MLFLOW_URI": f"sqlite:///{place}/mlflow.db",
                f"{name}_LEDGER_KEY": "5" * 64,
                f"{name}_PREFECT_API_URL": server,
            }
            place.mkdir()
        return {**found, "PROD_NOTIFY": "json://127.0.0.1:9"}

    return secrets


@pytest.fixture
def worker(tmp_path, prefect_server):
    """Starts Prefect workers of the pool `local`."""
    started = []

    def start(secrets):
        outside = {k: v for k, v in os.environ.items() if not k.startswith(("TRUEUP_", "GITHUB_", "CI_"))}
        command = [
            sys.executable,
            "-m",
            "prefect",
            "worker",
            "start",
            "--pool",
            "local",
            "--type",
            "process",
            "--name",
            "w",
        ]
        own = {"PREFECT_API_URL": prefect_server, "PREFECT_WORKER_QUERY_SECONDS": "1", "OMP_NUM_THREADS": "1"}
        own |= {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}  # else a run of more than 90 s counts as dead
        started.append(
            subprocess.Popen(command, env={**outside, **secrets, **own}, cwd=tmp_path, stdout=subprocess.DEVNULL)
        )

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.thorough
def test_merge_promotion_rollback_and_audit_on_github(tmp_path, host, prefect_server, environments, worker):
    project, secrets = Project(tmp_path, "github"), environments(prefect_server)
    promote_without_people(project)
    worker(secrets)
    runner = on_github(project, host, secrets=secrets, vars={"SMOKE_MODEL": "orders"})
    merged = runner.job(workflow(project, "staging"), "deploy")
    assert merged.result == "success", merged.output
    assert "orders" in merged.summary
    assert (tmp_path / "staging" / "trueup.db").is_file()
    assert not (tmp_path / "prod" / "trueup.db").exists()

    on_main = {**runner.context["github"], "ref_type": "branch"}
    assert not runner.starts(workflow(project, "production"), "deploy", github=on_main)
    released = runner.job(workflow(project, "production"), "deploy", github={**on_main, "ref_type": "tag"})
    assert released.result == "success", released.output
    assert (tmp_path / "prod" / "trueup.db").is_file()

    given = {"model": "orders", "why": "complaints; $(touch pwned)", "version": ""}
    back = runner.job(workflow(project, "rollback"), "rollback", inputs=given)
    assert back.result == "failure"
    assert "rollback" in next(command for command, code in back.codes.items() if code), back.output
    assert "no earlier" in back.output or "no other" in back.output, back.output
    assert not list(tmp_path.rglob("pwned"))

    file = project.clone / "configs" / "orders.yaml"
    file.write_text(file.read_text().replace("every: 7 days", "every: 7 days, overdue_after: 1 second"))
    git(project.clone, "push", "--quiet", "origin", f"{project.commit()}:main")
    for night in range(2):
        audited, told = nightly(runner, project)
        assert audited.outputs["outcome"] == "failure", audited.output
        assert told.result == "failure", "the run fails, so that the night is red"
        (issue,) = host.issues
        assert "orders" in issue["body"], audited.output
        assert "retrains" in issue["body"]
        assert f"issue {('opened', '#1 updated')[night]}" in told.output
    file.write_text(file.read_text().replace("1 second", "90 days"))
    git(project.clone, "push", "--quiet", "origin", f"{project.commit()}:main")
    audited, told = nightly(runner, project)
    assert (told.result, host.issues[0]["state"]) == ("success", "closed"), audited.output


def promote_without_people(project):
    """Let production promote by itself, and run no schedule beside the test."""
    prod = project.clone / "environments" / "prod.yaml"
    prod.write_text(prod.read_text().replace("promote.mode: approval", "promote.mode: auto    ") + "schedules: false\n")
    git(project.clone, "push", "--quiet", "origin", f"{project.commit()}:main")


def nightly(runner, project):
    audited = runner.job(workflow(project, "nightly"), "audit")
    needs = {"audit": {"outputs": audited.outputs}}
    return audited, runner.job(workflow(project, "nightly"), "issue", needs=needs)


@pytest.mark.thorough
def test_merge_requests_and_audit_on_gitlab(tmp_path, host):
    project = Project(tmp_path, "gitlab")
    file = project.clone / ".gitlab-ci.yml"
    for number, (name, change) in enumerate(BRANCHES.items(), 1):
        commit = project.push(name, *change)
        place = tmp_path / f"runner-{name}"
        place.mkdir()
        known = {
            "CI_API_V4_URL": host.url,
            "CI_PROJECT_ID": "12",
            "CI_MERGE_REQUEST_IID": str(number),
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
        }
        runner = GitLab(project.bare, place, **known)
        compared = runner.job(file, "compare", commit)
        assert compared.result == ("success" if name == "better" else "failure"), compared.output
        assert 'trueup_metric{model="orders"' in (place / "artifacts" / "ci-report" / "metrics.txt").read_text()
        without = runner.job(file, "comment", commit)
        assert (without.result, "is not set" in without.output) == ("success", True), without.output
        for words in ("written", "updated"):
            said = runner.job(file, "comment", commit, TRUEUP_GITLAB_TOKEN=TOKEN)
            assert f"comment of !{number} {words}" in said.output
        (comment,) = host.comments[number]
        assert name in comment["body"].splitlines()[1]


@pytest.mark.thorough
def test_merge_promotion_and_audit_on_gitlab(tmp_path, host, prefect_server, environments, worker):
    project, secrets = Project(tmp_path, "gitlab"), environments(prefect_server)
    promote_without_people(project)
    file, place = project.clone / ".gitlab-ci.yml", tmp_path / "runner"
    place.mkdir()
    worker(secrets)
    known = {"CI_API_V4_URL": host.url, "CI_PROJECT_ID": "12", "GITLAB_USER_LOGIN": "ada", "SMOKE_MODEL": "orders"}
    runner = GitLab(project.bare, place, **known, **secrets)
    merged = runner.job(file, "staging", "origin/main")
    assert merged.result == "success", merged.output
    assert (tmp_path / "staging" / "trueup.db").is_file()
    audited = runner.job(file, "audit", "origin/main")
    assert audited.result == "success", audited.output
    told = runner.job(file, "issue", "origin/main", TRUEUP_GITLAB_TOKEN=TOKEN)
    found = "OUTCOME=failure" in (place / "artifacts" / "outcome.env").read_text()
    assert told.result == ("failure" if found else "success"), told.output
    assert len(host.issues) == found
    back = runner.job(file, "rollback", "origin/main", MODEL="orders", WHY="a try")
    assert back.result == "failure", "there is no model yet in prod"
    assert not (tmp_path / "prod" / "batches").exists()
    released = runner.job(file, "production", "origin/main")
    assert released.result == "success", released.output
    assert (tmp_path / "prod" / "batches").is_dir()


def test_a_project_has_no_jobs_but_those_of_the_tests_above(tmp_path):
    """For programs that are processes; a new job needs a test, and then a place here."""
    for ci, expected in (
        ("github", {"compare", "comment", "deploy", "rollback", "audit", "issue"}),
        ("gitlab", {"compare", "comment", "staging", "production", "rollback", "audit", "issue"}),
    ):
        made = write_project(tmp_path / ci, Choices("shop", ci)).folder
        workflows = list((made / ".github" / "workflows").glob("*.yml"))
        jobs = (
            {name for file in workflows for name in read(file)["jobs"]}
            if ci == "github"
            else {
                name for name, job in read(made / ".gitlab-ci.yml").items() if isinstance(job, dict) and "script" in job
            }
        )
        assert jobs == expected


def test_the_comment_is_written_by_the_step_of_the_workflow_itself(tmp_path, host):
    """The step as it is in the file, without the comparison, which takes longer."""
    made = write_project(tmp_path / "shop", Choices("shop", "github")).folder
    place = tmp_path / "runner"
    (place / "artifacts" / "ci-report").mkdir(parents=True)
    (place / "artifacts" / "ci-report" / "comment.md").write_text(
        "<!-- trueup:ci -->\n## Trueup: no model is affected\n"
    )
    run = {"head_sha": "a" * 40, "head_branch": "x", "head_repository": {"full_name": "eve/shop"}, "id": 5}
    run |= {"event": "pull_request", "conclusion": "success"}
    host.pulls = [{"number": 9, "head": {"sha": "a" * 40, "ref": "x", "repo": {"full_name": "eve/shop"}}}]
    github = {"repository": "o/shop", "api_url": host.url, "run_id": 6, "actor": "eve", "token": TOKEN}
    runner = GitHub(tmp_path, place, {"github": {**github, "event": {"workflow_run": run}}})
    file = made / ".github" / "workflows" / "comment.yml"
    for words in ("written", "updated"):
        assert f"comment of #9 {words}" in runner.job(file, "comment").output
    assert len(host.comments[9]) == 1
    run["conclusion"] = "cancelled"
    assert not runner.starts(file, "comment")
