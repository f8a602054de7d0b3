"""The bill of materials of an environment, made by CycloneDX's tool, once per environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from trueup import files
from trueup.errors import WorkError

_SECONDS = 900  # it reads the metadata of every package


def kept(folder: Path, digest: str) -> Path:
    """The path of an environment's bill, whether or not it exists."""
    return folder / f"sbom-{digest[:16]}.cdx.json"


def make(folder: Path, digest: str) -> Path:
    """Write the bill of the running environment, unless it exists; `digest` names it. Raises WorkError."""
    path = kept(folder, digest)
    if path.exists():
        return path
    command = ["environment", "--no-validate", "--output-reproducible", "--output-format", "JSON"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cyclonedx_py", *command, sys.executable],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        if done.returncode:
            message = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise WorkError(f"cyclonedx-py could not list this environment's packages: {message}")
        files.write_text(path, done.stdout)
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"cyclonedx-py did not end within {_SECONDS} s; try again when less is running") from error
    return path


def summary(path: Path) -> dict[str, Any]:
    """Number of packages and licences in a bill. Raises ValueError for another file."""
    bill = json.loads(path.read_text(encoding="utf-8"))
    if bill.get("bomFormat") != "CycloneDX":
        raise ValueError(f"{path} is not a CycloneDX file")
    packages = bill.get("components", [])
    counted = Counter(_licence(package) for package in packages)
    return {
        "format": f"CycloneDX {bill['specVersion']}",
        "packages": len(packages),
        "licences": dict(counted.most_common()),
    }


def _licence(package: dict[str, Any]) -> str:
    """The first licence that a package declares."""
    declared = (package.get("licenses") or [{}])[0]
    named = declared.get("license", {})
    return str(declared.get("expression") or named.get("id") or named.get("name", "none declared").splitlines()[0][:60])
