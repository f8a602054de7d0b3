"""The user's project: the folder with configs, flows, tasks and prefect.yaml, found from the working folder upwards."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

FILE = "prefect.yaml"
CONFIGS = "configs"
_HOME = ".trueup"


def project_root(start: Path | None = None) -> Path:
    """The project's folder: `start` (default: the working folder), or else the nearest project above it.

    A project above has a prefect.yaml and a folder `configs`, and belongs to the user: code of a project runs with the
    rights of its caller, so that of somebody else is not found by chance. Without any, it is `start`.
    """
    start = (start or Path.cwd()).resolve()
    if (start / FILE).is_file() or (start / CONFIGS).is_dir():
        return start
    return next((folder for folder in start.parents if _is_own_project(folder)), start)


def enter(environment: MutableMapping[str, str]) -> None:
    """Let commands in a folder below the project use the project's home and configs; what is set stays."""
    root = project_root()
    if root != Path.cwd().resolve():
        environment.setdefault("TRUEUP_HOME", str(root / _HOME))
        environment.setdefault("TRUEUP_CONFIGS", str(root / CONFIGS))


def _is_own_project(folder: Path) -> bool:
    if not ((folder / FILE).is_file() and (folder / CONFIGS).is_dir()):
        return False
    return not hasattr(os, "getuid") or folder.stat().st_uid == os.getuid()
