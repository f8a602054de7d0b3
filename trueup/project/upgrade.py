"""Upgrade: how a project's glue differs from the templates of the installed Trueup. It writes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import unified_diff
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Literal

from trueup.config.project import FILE
from trueup.project.choices import choices_of
from trueup.project.rendering import SCHEMAS, rendered

# What a user writes: the templates only begin it.
_OWN = ("configs", "environments", "tests", "README.md", "pyproject.toml", ".gitignore", ".env.example")
_IMAGES = ("deploy/overlays/*/*", "compose.*.yaml")  # files in which a user names the image of an environment
_MODELS = "\n  # Models"  # in prefect.yaml: below are the deployments of the user's models


@dataclass(frozen=True)
class Difference:
    """One file that differs from its template."""

    path: str
    kind: Literal["missing", "changed", "outdated"]  # outdated: a generated file of another version
    diff: str  # from the project's file to the template; of a generated file nothing


@dataclass(frozen=True)
class Upgrade:
    """The installed version, that which the project pins, and the files that differ."""

    project: Path
    version: str
    pinned: str | None
    differences: list[Difference]
    same: int


def compare(project: Path) -> Upgrade:
    """Compare a project's glue with the templates. Raises UsageError for a folder that is no project of templates."""
    texts = {p: t for p, t in rendered(choices_of(project)).items() if not _is_the_users(p)}
    differences = [d for path, text in texts.items() if (d := _difference(project, path, text)) is not None]
    return Upgrade(project, version("trueup"), _pinned(project), differences, len(texts) - len(differences))


def _is_the_users(path: PurePosixPath) -> bool:
    if path.parent == SCHEMAS:
        return False
    return path.parts[0] in _OWN or any(path.match(pattern) for pattern in _IMAGES)


def _difference(project: Path, path: PurePosixPath, template: str) -> Difference | None:
    file = project / path
    if not file.is_file():
        return Difference(str(path), "missing", "")
    own = file.read_text(encoding="utf-8")
    if path.name == FILE:
        own, template = own.split(_MODELS)[0], template.split(_MODELS)[0]
    if own == template:
        return None
    if path.parent == SCHEMAS:
        return Difference(str(path), "outdated", "")
    lines = unified_diff(
        own.splitlines(keepends=True), template.splitlines(keepends=True), str(path), f"template {path}"
    )
    return Difference(str(path), "changed", "".join(line if line.endswith("\n") else line + "\n" for line in lines))


def _pinned(project: Path) -> str | None:
    """The version of Trueup in the project's lock, None without a lock."""
    lock = project / "requirements.lock"
    lines = lock.read_text(encoding="utf-8").splitlines() if lock.is_file() else []
    return next((line.split("==")[1].split()[0] for line in lines if line.startswith("trueup==")), None)
