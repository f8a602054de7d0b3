"""Facts about the running code: commit, lock file, package versions, and the account."""

from __future__ import annotations

import getpass
import hashlib
import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import trueup

_LOCK = "requirements.lock"
_PACKAGES = ("trueup", "scikit-learn", "pandas", "numpy", "skops", "mlflow", "prefect")


@lru_cache(maxsize=8)
def code_facts(folder: Path) -> dict[str, str]:
    """Facts about the code in and around a folder, as text; "unknown" if they cannot be determined."""
    commit = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    facts = {
        "git_commit": commit or "unknown",
        "git_dirty": "unknown" if changed is None else str(bool(changed)).lower(),
        "lock_digest": _lock_digest(folder),
        "environment_digest": environment_digest(),
        "version.python": platform.python_version(),
    }
    return facts | {f"version.{name}": _version(name) for name in _PACKAGES}


def _lock_digest(folder: Path) -> str:
    """SHA-256 of a project's lock file, beside its configs or above them, else of the library's checkout."""
    places = [*folder.resolve().parents, Path(trueup.__file__).resolve().parents[1]]
    lock = next((place / _LOCK for place in places if (place / _LOCK).is_file()), None)
    return "unknown" if lock is None else hashlib.sha256(lock.read_bytes()).hexdigest()


@lru_cache(maxsize=1)
def environment_digest() -> str:
    """SHA-256 over names and versions of all installed packages, from their folders: reading each takes seconds."""
    return hashlib.sha256("\n".join(sorted(_installed())).encode()).hexdigest()


@lru_cache(maxsize=1)
def packages() -> dict[str, str]:
    """Versions of Python and of all installed packages, by name."""
    parts = (folder.rpartition("-") for folder in sorted(_installed()))
    return {"python": platform.python_version()} | {name: version for name, _, version in parts}


def _installed() -> set[str]:
    """Names and versions of all installed packages, as their folders have them."""
    return {d.name.removesuffix(".dist-info").lower() for place in sys.path for d in Path(place).glob("*.dist-info")}


@lru_cache(maxsize=1)
def code_digest() -> str:
    """SHA-256 over Trueup's own sources and `environment_digest`: equal ones do the same with the same data."""
    package, digest = Path(trueup.__file__).parent, hashlib.sha256(environment_digest().encode())
    for file in sorted(package.rglob("*.py")):
        digest.update(f"\n{file.relative_to(package)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def account() -> str:
    """The operating system's account of this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"uid {os.getuid()}"


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
