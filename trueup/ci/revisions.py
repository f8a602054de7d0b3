"""The commits of a comparison, and a working tree of each."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from trueup.errors import UsageError, WorkError

_SECONDS = 300  # of one call of git: a checkout of a large repository


@dataclass(frozen=True)
class Revisions:
    """The base's tip and the head of a pull request, as full commit ids, and the files that the head changes.

    `behind` counts the commits of the base that the head does not have. A renamed file counts as deleted and added.
    """

    root: Path  # of the repository
    base_name: str
    base: str
    head: str
    behind: int
    changed: tuple[str, ...]


def revisions(folder: Path, base: str, head: str | None, configs: Path | None = None) -> Revisions:
    """Resolve both revisions. Without `head` it is the commit of the working tree, which must have no other content.

    New files count only within `configs`: elsewhere they may be reports.

    Raises UsageError outside of a repository, for an unknown revision, for a tree with changes, and for revisions without
    a common commit.
    """
    try:
        root = Path(_git(folder, "rev-parse", "--show-toplevel"))
    except WorkError:
        raise UsageError(
            f"{folder} is in no Git repository; run `git init`, commit the project, and name the base with --base"
        ) from None
    if head is None and (dirty := _git(root, "status", "--porcelain", "--untracked-files=no")):
        first = dirty.splitlines()[0][3:]
        raise UsageError(
            f"the working tree differs from its commit (first: {first}); commit the changes, or name a commit with --head"
        )
    if (
        head is None
        and configs is not None
        and (new := _git(root, "ls-files", "-o", "--exclude-standard", str(configs.resolve())))
    ):
        raise UsageError(f"{new.splitlines()[0]} is not committed; commit or remove it, or name a commit with --head")
    base_id, head_id = _commit(root, base, "--base"), _commit(root, head or "HEAD", "--head")
    try:
        common = _git(root, "merge-base", base_id, head_id)
    except WorkError:
        raise UsageError(
            f"{base} and {head or 'HEAD'} have no common commit here; fetch the whole history (`fetch-depth: 0` of "
            "actions/checkout, `GIT_DEPTH: 0` of GitLab)"
        ) from None
    changed = _git(root, "diff", "--name-only", "--no-renames", "-z", common, head_id)
    behind = int(_git(root, "rev-list", "--count", f"{head_id}..{base_id}"))
    return Revisions(root, base, base_id, head_id, behind, tuple(name for name in changed.split("\0") if name))


@contextmanager
def worktree(root: Path, commit: str, place: Path) -> Iterator[Path]:
    """A working tree of a commit at a place, removed at the end. No hook of the repository runs. Raises WorkError."""
    _git(root, "worktree", "add", "--detach", "--quiet", str(place), commit)
    try:
        yield place
    finally:
        _git(root, "worktree", "remove", "--force", str(place))


def _commit(root: Path, name: str, option: str) -> str:
    try:
        return _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except WorkError:
        raise UsageError(f"{option} {name[:80]!a}: there is no such commit here; fetch it, or name another") from None


def _git(folder: Path, *arguments: str) -> str:
    """The output of git. Raises WorkError with its message."""
    try:
        done = subprocess.run(
            ["git", "-c", f"core.hooksPath={os.devnull}", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise WorkError(f"git {arguments[0]}: {error}; check that Git is installed and the disk answers") from error
    if done.returncode:
        raise WorkError(f"git {arguments[0]} failed: {done.stderr.strip() or done.returncode}; correct that, run again")
    return done.stdout.rstrip("\n")
