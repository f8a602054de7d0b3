"""Manifests for Kubernetes as a cluster would get them: rendered by kustomize, and looked up in Kubernetes' own schemas."""

import copy
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

VERSIONS = ("1.30", "1.34", "1.37")  # a feature of the manifests is there in each


def needs(what: str) -> None:
    """Skip a test without a tool, but not on the CI server: there it would go unnoticed."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed, so nothing was checked")
    pytest.skip(f"{what} is not installed")


def rendered(folder: Path) -> list[dict]:
    """The objects of an overlay."""
    if kubectl := shutil.which("kubectl"):
        command = [kubectl, "kustomize"]
    elif kustomize := shutil.which("kustomize"):
        command = [kustomize, "build"]
    else:
        needs("kubectl or kustomize")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def require_valid(content: dict, version: str) -> None:
    """Fail for an object with an unknown field, a missing one, or a value of another kind."""
    try:
        import kubernetes_validate
    except ImportError:
        needs("kubernetes-validate")
    content = copy.deepcopy(content)
    for name in ("parallelism", "completions") if content["kind"] == "Job" else ():
        # Prefect's worker wants them there, and the cluster ignores them: https://docs.prefect.io/integrations/prefect-kubernetes
        del content["spec"]["template"]["spec"][name]
    kubernetes_validate.validate(content, version, strict=True)


def pods(objects: list[dict]) -> dict[str, dict]:
    """The spec of each object's pods, by kind and name."""
    kinds = {"Deployment", "StatefulSet", "Job"}
    return {
        f"{o['kind']} {o['metadata'].get('name')}": o["spec"]["template"]["spec"] for o in objects if o["kind"] in kinds
    }


def mebibytes(quantity: str) -> float:
    """Memory as Kubernetes writes it."""
    factor = {"Mi": 1.0, "Gi": 1024.0}[quantity[-2:]]
    return float(quantity[:-2]) * factor
