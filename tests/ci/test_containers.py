"""`make push` and `make deploy` of projects in containers, with programs that write down how Docker and kubectl are called."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.ci.shop import git
from trueup.project.choices import Choices
from trueup.project.init import write_project
from trueup.project.targets import unfinished

IMAGE = f"ghcr.io/o/shop@sha256:{'1' * 64}"
RECORDER = """#!/bin/bash
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in *inspect*) echo "$IMAGE_THERE" ;; push*) echo "a line that is not the address" ;; esac
"""


@pytest.fixture(params=["docker", "kubernetes"])
def project(request, tmp_path):
    folder = write_project(tmp_path / "shop", Choices("shop", "github", request.param)).folder
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("docker", "kubectl"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "begin")
    return folder


def make(project: Path, *goals: str):
    calls = project.parent / "calls"
    calls.write_text("")
    own = {"PATH": f"{project.parent / 'programs'}:{os.environ['PATH']}", "CALLS": str(calls), "IMAGE_THERE": IMAGE}
    done = subprocess.run(
        ["make", "--silent", *goals], cwd=project, env=os.environ | own, capture_output=True, text=True, check=True
    )
    return done.stdout, calls.read_text().splitlines()


def test_deploy_starts_the_image_by_its_digest_and_runs_the_model(project):
    assert any("placeholder" in line for line in unfinished(project, "prod"))
    _, calls = make(project, "deploy", "ENV=prod", f"IMAGE={IMAGE}", "SMOKE=example")
    assert unfinished(project, "prod") == [], "the image is filled in where `trueup check` looks for it"
    assert any("placeholder" in line for line in unfinished(project, "staging")), "of that environment only"
    changed = git(project, "diff", "-U0")
    assert f"sha256:{'1' * 64}" in changed
    assert calls[-1].endswith("trueup deploy --smoke example")
    if (project / "compose.yaml").is_file() and not (project / "deploy").is_dir():
        assert calls[0] == "docker compose -f compose.yaml -f compose.prod.yaml up --wait"
        assert calls[1].startswith("docker compose -f compose.yaml -f compose.prod.yaml exec -T worker ")
    else:
        assert calls[0] == "kubectl apply --kustomize deploy/overlays/prod"
        assert calls[1].startswith("kubectl --namespace shop-prod rollout status deployment/trueup-worker")
        assert calls[2].startswith("kubectl --namespace shop-prod exec deployment/trueup-worker --container worker -- ")


def test_push_and_digest_print_the_address_of_this_commits_image_only(project):
    commit = git(project, "rev-parse", "HEAD")
    for goal in ("push", "digest"):
        out, calls = make(project, goal, "REGISTRY=ghcr.io/o")
        assert out.strip() == IMAGE
        assert f"ghcr.io/o/shop:{commit}" in calls[-1]
