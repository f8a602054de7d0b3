"""Writes changes into a config's file, and keeps its comments and order."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from trueup import files
from trueup.config.load import load_model, parse_model
from trueup.config.policies import Changes
from trueup.config.schema import ModelConfig
from trueup.config.sections.promotion import PromoteConfig


def with_changes(configs: Path, name: str, changes: Changes) -> tuple[str, ModelConfig]:
    """The text of `configs/<name>.yaml` with changes in it, and the config that it makes.

    Raises UnknownModel, and ConfigError where the file has mistakes or would have them.
    """
    load_model(configs, name)
    yaml = _yaml()
    content = yaml.load((configs / f"{name}.yaml").read_text(encoding="utf-8"))
    if isinstance(changes.get("promote", {}).get("gates"), Mapping):  # changes by kind need a written list
        content.setdefault("promote", CommentedMap()).setdefault("gates", _default_gates())
    _put(content, changes)
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue(), parse_model(out.getvalue(), f"{configs / name}.yaml with the changes", configs)


def write_changes(configs: Path, name: str, changes: Changes) -> Path:
    """Write changes into `configs/<name>.yaml`. Raises like `with_changes`, and WorkError without writing."""
    text, _ = with_changes(configs, name, changes)
    path = (configs / f"{name}.yaml").resolve()  # a link stays one
    files.write_text(path, text)
    return path


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _default_gates() -> list[Any]:
    return [CommentedMap(kind=gate.kind) for gate in PromoteConfig().gates]


def _put(into: CommentedMap, changes: Mapping[str, Any]) -> None:
    """Change keys in place. In a list of gates, change those named by their kind."""
    for key, value in changes.items():
        old = into.get(key)
        if isinstance(value, Mapping) and isinstance(old, list):
            _put_in_list(old, value)
        elif isinstance(value, Mapping):
            if not isinstance(old, CommentedMap):
                into[key] = CommentedMap()
            _put(into[key], value)
            if not into[key]:
                del into[key]
        elif value is None:
            into.pop(key, None)  # None is the default of every optional key; its comment is about the old value
        else:
            into[key] = value


def _put_in_list(gates: list[Any], changes: Mapping[str, Mapping[str, Any]]) -> None:
    for kind, change in changes.items():
        gate = next((g for g in gates if g["kind"] == kind), None)
        if gate is None:
            gates.insert(0, CommentedMap({"kind": kind, **change}))
        else:
            _put(gate, change)
