"""Which code made something: commit, whether it was changed since, and the versions of the packages that matter."""

from __future__ import annotations

import subprocess
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("trueup", "scikit-learn", "pandas", "numpy", "skops", "mlflow", "prefect")


@lru_cache(maxsize=8)
def code_facts(folder: Path) -> dict[str, str]:
    """Facts about the code in and around a folder, as text. What cannot be found out is said to be unknown."""
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    facts = {
        "git_commit": commit or "unknown",
        "git_dirty": "unknown" if changed is None else str(bool(changed)).lower(),
    }
    return facts | {f"version.{name}": _version(name) for name in _PACKAGES}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"
