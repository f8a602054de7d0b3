"""`trueup check --env`: what the files for Docker and Kubernetes leave to the user is said at once, with missing variables."""

import re

import pytest

from tests.project.test_init import trueup
from trueup.project.choices import Choices
from trueup.project.init import write_project
from trueup.project.targets import DIGEST, REGISTRY, unfinished
from trueup.project.upgrade import compare

OVERLAY = "deploy/overlays/prod/kustomization.yaml"


@pytest.fixture
def project(tmp_path):
    def write(deploy, example="made-up"):
        return write_project(tmp_path / deploy, Choices("shop", deploy=deploy, example=example)).folder

    return write


def finish(file):
    """Write the registry and the digest of a pushed image into a file."""
    file.write_text(file.read_text().replace(REGISTRY, "registry.local:5000").replace(DIGEST, "sha256:" + 32 * "ab"))


def test_placeholders_are_named_with_the_missing_variables(project):
    made = project("kubernetes")
    done = trueup("check", "example", "--env", "prod", cwd=made)
    assert done.returncode == 2
    assert "prod.yaml: 8 mistakes" in done.stderr
    assert "${PROD_DATABASE_URL} is not set" in done.stderr
    assert re.search(rf"{OVERLAY}, line \d+: registry.example.com is a placeholder; write the registry", done.stderr)
    assert re.search(rf"{OVERLAY}, line \d+: the image's digest is a placeholder; write that", done.stderr)
    elsewhere = trueup("status", "--env", "prod", cwd=made)
    assert "6 mistakes" in elsewhere.stderr, "only the check looks at the files of other machines"
    finish(made / OVERLAY)
    assert unfinished(made, "prod") == []
    assert compare(made).differences == [], "the user's values are no difference from a template"
    assert len(unfinished(made, "staging")) == 2
    assert unfinished(made, "dev") == []


def test_so_are_those_of_compose(project):
    made = project("docker")
    mistakes = unfinished(made, "prod")
    assert [m.split(",")[0] for m in mistakes] == ["compose.prod.yaml"] * 2
    finish(made / "compose.prod.yaml")
    assert unfinished(made, "prod") == []


def test_runs_as_processes_have_nothing_to_fill_in(project):
    assert unfinished(project("process"), "prod") == []


def test_pods_of_serve_need_a_model_and_a_place_for_its_log(project):
    made = project("kubernetes", "none")
    finish(made / OVERLAY)
    (mistake,) = unfinished(made, "prod")
    assert "no config has the section `serve`" in mistake
    config = made / "configs" / "late.yaml"
    config.parent.mkdir(exist_ok=True)
    config.write_text("model: late\nserve: {}\n")
    (mistake,) = unfinished(made, "prod")
    assert "late (process); set it to home, or add ../../components/serving-log" in mistake
    overlay = made / OVERLAY
    before = overlay.read_text()
    overlay.write_text(before.replace("  # - ../../components/serving-log", "  - ../../components/serving-log"))
    assert unfinished(made, "prod") == []
    overlay.write_text(before)
    config.write_text("model: late\nserve: {durability: home}\n")
    assert unfinished(made, "prod") == []
    config.write_text("model: late\nserve: {durability: home}\npromote: {rollout: {}}\n")
    (mistake,) = unfinished(made, "prod")
    assert "a rollout would never advance; remove `promote.rollout` of late" in mistake
