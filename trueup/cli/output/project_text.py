"""Prints a written project, and how one differs from its templates."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from trueup.cli.output import out, say

if TYPE_CHECKING:
    from trueup.project.init import Project
    from trueup.project.upgrade import Upgrade


def made(project: Project) -> None:
    """Print what was written, and the next commands."""
    folder = min(os.path.relpath(project.folder), str(project.folder), key=len)
    out.print(f"{escape(folder)}: {len(project.written)} files written")
    if project.left:
        say(f"left as they are, because they exist: {escape(', '.join(project.left))}")
    if project.wheel:
        say(f"`make setup` installs Trueup from {escape(project.wheel)}, a copy of the wheel that is installed here")
    elif not project.from_index:
        say(
            "this Trueup is not installed from a wheel: put one into wheels/ before `make setup`, for example with "
            "`pip wheel --no-deps CHECKOUT --wheel-dir wheels`"
        )
    _say_changed_choices(project)
    say("next:")
    if Path(folder) != Path():
        say(f"  cd {escape(folder)}")
    for line in ("make setup", *(f"trueup run {model}" for model in project.models[:1])):
        say(f"  {escape(line)}")


def _say_changed_choices(project: Project) -> None:
    from trueup.project.choices import choices_of

    kept, chosen = choices_of(project.folder).kept, project.choices.kept
    changed = ", ".join(f'{key} = "{value}"' for key, value in chosen.items() if kept[key] != value)
    if changed:
        say(escape(f"write {changed} into [tool.trueup] of pyproject.toml, for `trueup upgrade`"))


def compared(done: Upgrade) -> None:
    """Print each difference from the templates."""
    for difference in done.differences:
        if difference.kind == "missing":
            out.print(f"{escape(difference.path)} is missing; `trueup init .` writes it")
        elif difference.kind == "outdated":
            out.print(f"{escape(difference.path)} is of another version; `trueup schema --write` writes it anew")
        else:
            out.print(escape(difference.diff), end="", highlight=False, soft_wrap=True)
    pinned = f"; the project's lock has {done.pinned}" if done.pinned and done.pinned != done.version else ""
    say(f"Trueup {done.version}{pinned}: {done.same} files as their templates, {len(done.differences)} different")
