"""What `trueup init` is told about a project, kept in the project's pyproject.toml for `trueup upgrade`."""

from __future__ import annotations

import re
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from trueup.errors import UsageError

Ci = Literal["github", "gitlab", "none"]
Deploy = Literal["process", "docker", "kubernetes"]
Example = Literal["made-up", "flights", "none"]

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True)
class Choices:
    """Name of a project, and which of the templates make it."""

    name: str
    ci: Ci = "none"
    deploy: Deploy = "process"
    example: Example = "made-up"

    def __post_init__(self) -> None:
        """Raise UsageError for a name that packages cannot have."""
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                f"{self.name!r} cannot be a project's name; use letters, digits, and - . _ between them: it becomes the "
                "name in pyproject.toml"
            )

    @property
    def slug(self) -> str:
        """The name as images and namespaces can have it.

        >>> Choices("My_Shop.eu").slug
        'my-shop-eu'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:40].strip("-")

    @property
    def kept(self) -> dict[str, str]:
        """The choices that pyproject.toml keeps beside the name."""
        return {key: value for key, value in asdict(self).items() if key != "name"}


def choices_of(project: Path) -> Choices:
    """The choices with which a project was written. Raises UsageError for a folder that is no such project."""
    file = project / "pyproject.toml"
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no {file}; change to a project that `trueup init` wrote") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} is not TOML: {error}; correct it") from None
    kept, name = _table(content, "tool", "trueup"), _table(content, "project").get("name")
    if not kept or not isinstance(name, str):
        raise UsageError(
            f"{file} has no name or no table [tool.trueup], so its templates are not known; copy both from a new project"
        )
    known = {"ci": Ci, "deploy": Deploy, "example": Example}
    wrong = [f"{key} = {kept.get(key)!r}" for key, kind in known.items() if kept.get(key) not in get_args(kind)]
    if wrong:
        allowed = "; ".join(f"{key} is one of {', '.join(get_args(kind))}" for key, kind in known.items())
        raise UsageError(f"{file}, [tool.trueup]: {', '.join(wrong)}; {allowed}")
    return Choices(name, kept["ci"], kept["deploy"], kept["example"])


def _table(content: Any, *names: str) -> dict[str, Any]:
    for name in names:
        content = content.get(name) if isinstance(content, dict) else None
    return content if isinstance(content, dict) else {}
