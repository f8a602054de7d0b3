"""Which models a pull request may change, from the names of its files and from what configs and modules name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml.error import YAMLError

from trueup.config import yaml_text
from trueup.config.load import model_names
from trueup.config.section import DOTTED

_DOTTED = re.compile(DOTTED)
_TEXTS = (".md", ".rst", ".txt")  # they change no model, unless a config names them
_ALL = ("requirements.lock", "pyproject.toml", "constraints.txt")


def affected(changed: Iterable[str], project: PurePosixPath, configs: PurePosixPath, trees: Iterable[Path]) -> set[str]:
    """The models that the changed files may change, of all trees.

    `changed` are relative to the repository, `project` and `configs` are those folders in it. A config changes its model, and
    a file beside the configs the models that name it. Tests and documentation change none; any other file changes all.
    """
    trees = list(trees)
    every = {name for tree in trees for name in model_names(tree / configs)}
    found = set[str]()
    needs = [_needs(tree / configs) for tree in trees]
    for name in changed:
        file = PurePosixPath(name)
        if not file.is_relative_to(project):
            continue
        inside = file.relative_to(project)
        beside = str(file.relative_to(configs)) if file.is_relative_to(configs) else str(inside)
        users = {m for of in needs for m, files in of.items() if beside in files}
        if file.parent == configs and file.suffix == ".yaml":
            found |= users | ({file.stem} & every)
        elif file.is_relative_to(configs):
            # Code may import or read in its own way what nothing names.
            quiet = file.suffix in _TEXTS or any(part.startswith(".") for part in PurePosixPath(beside).parts)
            found |= users or (set() if quiet else every)
        elif inside.parts[0] in {"tests", "docs"} or (inside.suffix in _TEXTS and inside.name not in _ALL):
            found |= users
        elif not inside.name.startswith(".") and not inside.parts[0].startswith("."):
            found |= every
    return found


def _needs(configs: Path) -> dict[str, set[str]]:
    """The files that each model's config names, relative to the configs; modules with those that they import there."""
    imports = {file.stem: _imported(file) for file in configs.glob("*.py")}
    needed = {}
    for model in model_names(configs):
        try:
            content = yaml_text.read((configs / f"{model}.yaml").read_text(encoding="utf-8"))
        except (YAMLError, OSError, ValueError, RecursionError):
            content = None
        texts = set(_texts(content))
        modules = _closed({t.split(":")[0].split(".")[0] for t in texts if _DOTTED.fullmatch(t)}, imports)
        needed[model] = {f"{name}.py" for name in modules} | {str(PurePosixPath(t)) for t in texts}
    return needed


def _closed(modules: set[str], imports: Mapping[str, set[str]]) -> set[str]:
    """The modules, and all that they import of those beside them."""
    reached, new = set[str](), modules & imports.keys()
    while new:
        reached |= new
        new = {i for name in new for i in imports[name]} & imports.keys() - reached
    return reached


def _imported(file: Path) -> set[str]:
    """The first parts of all modules that a file imports; none if it is not Python."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError):
        return set()
    names = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name.split(".")[0] for name in names}


def _texts(content: Any) -> Iterator[str]:
    """All texts of a content; what YAML's anchors repeat is looked at once, so that no config takes forever."""
    seen, left = set[int](), [content]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping | list) and id(value) not in seen:
            seen.add(id(value))
            left += value.values() if isinstance(value, Mapping) else value
