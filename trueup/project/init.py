"""Init: a folder with a project that runs at once."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from trueup import files
from trueup.config.load import load_model, model_names
from trueup.config.project import CONFIGS, FILE
from trueup.errors import UsageError
from trueup.onboarding.deployments import deploy
from trueup.onboarding.new_model import Drafted, save
from trueup.project.choices import Choices, choices_of
from trueup.project.rendering import rendered

WHEELS = "wheels"


@dataclass(frozen=True)
class Project:
    """A project that was written: its files, those that existed and were left as they are, and its models."""

    folder: Path
    choices: Choices
    written: list[str]
    left: list[str]
    models: list[str]
    wheel: str | None  # the wheel of Trueup in the project
    from_index: bool  # whether Trueup's own wheel came from a package index


def write_project(folder: Path, choices: Choices, first: Drafted | None = None) -> Project:
    """Write the files of a project that are missing in the folder, and leave all others as they are.

    `first` is the config of a model to begin with.

    Raises UsageError for a folder with files that is no project, and WorkError when writing fails.
    """
    folder = folder.expanduser().resolve()
    _require_empty_or_project(folder)
    texts = rendered(choices)
    deleted = _example_of(folder, choices)
    missing = [path for path in texts if path not in deleted and not (folder / path).exists()]
    for path in missing:
        files.write_text(folder / path, texts[path])
    if first is not None:
        save(first)
    models = model_names(folder / CONFIGS)
    for model in models:
        deploy(load_model(folder / CONFIGS, model), folder / CONFIGS)
    wheel, from_index = _own_wheel()
    if wheel is not None and not (folder / WHEELS / wheel.name).exists():
        (folder / WHEELS).mkdir(parents=True, exist_ok=True)
        shutil.copy2(wheel, folder / WHEELS / wheel.name)
    left = sorted(str(path) for path in set(texts) - set(missing) - deleted)
    named = f"{WHEELS}/{wheel.name}" if wheel else None
    return Project(folder, choices, sorted(map(str, missing)), left, models, named, from_index)


def _example_of(folder: Path, choices: Choices) -> set[PurePosixPath]:
    """The files of the example of a project that exists: those that are missing were deleted by the user."""
    try:
        same = choices_of(folder).example == choices.example
    except UsageError:
        return set()
    return set(rendered(choices)) - set(rendered(replace(choices, example="none"))) if same else set()


def _require_empty_or_project(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    inside = sorted(p.name for p in folder.iterdir() if p.name != ".git") if folder.is_dir() else []
    if inside and not (folder / FILE).is_file():
        raise UsageError(
            f"{folder} has files ({', '.join(inside[:3])}{', …' if len(inside) > 3 else ''}) and no {FILE}; name a new "
            "folder, or one that `trueup init` wrote, in which only missing files are written"
        )


def _own_wheel() -> tuple[Path | None, bool]:
    """The wheel file from which this Trueup was installed, if it is still there; and whether an index had it."""
    try:
        text = distribution("trueup").read_text("direct_url.json")
    except PackageNotFoundError:
        return None, False
    if text is None:
        return None, True
    url = urlparse(json.loads(text).get("url", ""))
    path = Path(unquote(url.path))
    return (path if url.scheme == "file" and path.suffix == ".whl" and path.is_file() else None), False
