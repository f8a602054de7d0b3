"""From a YAML file to a `ModelConfig`, or to all of its mistakes at once, each with its line and the mend."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from trueup.config.checks import MistakeAt
from trueup.config.schema import ModelConfig
from trueup.errors import ConfigError, UnknownModel

Location = tuple[int | str, ...]


def model_names(configs: Path) -> list[str]:
    """Names of the models that have a config, in order."""
    return sorted(p.stem for p in configs.glob("*.yaml"))


def load_model(configs: Path, name: str) -> ModelConfig:
    """Read `configs/<name>.yaml`.

    Raises UnknownModel when there is no such file, ConfigError with every mistake in it.
    """
    known = model_names(configs)
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known models: {', '.join(known) or 'none'}"
        hint += "; TRUEUP_CONFIGS names another folder of configs"
        raise UnknownModel(f"{name}: no {configs / (name + '.yaml')}{hint}")
    path = configs / f"{name}.yaml"
    config = parse_model(path.read_text(encoding="utf-8"), where=str(path))
    if config.model != name:
        raise ConfigError(str(path), [f"model: it says {config.model!r}; the file's name and `model` must be the same"])
    return config


def parse_model(text: str, where: str = "config") -> ModelConfig:
    """Read a config from text; `where` names it in messages. Raises ConfigError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(where, [_syntax(error)]) from None
    if node is None or not isinstance(content, dict):
        raise ConfigError(where, ["line 1: expected keys such as `model:`, `task:` and `ingest:`; see docs/config.md"])
    problems = list(_duplicate_keys(node))
    try:
        config = ModelConfig.model_validate(content)
    except ValidationError as error:
        problems += [_explain(node, e) for e in error.errors(include_url=False)]
        raise ConfigError(where, _in_order(problems)) from None
    if problems:
        raise ConfigError(where, _in_order(problems))
    return config


def _in_order(problems: list[str]) -> list[str]:
    return sorted(problems, key=lambda p: int(p.removeprefix("line ").split(",")[0].split(":")[0]))


def _syntax(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}not YAML: {getattr(error, 'problem', None) or error}; check the indentation and the quotes there"


def _duplicate_keys(node: yaml.Node, at: Location = ()) -> Iterator[str]:
    """YAML lets a later key silently replace an earlier one; we do not."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                yield f"line {line}, {_dotted((*at, key.value))}: stands twice (first in line {seen[key.value]}); remove one"
            seen[key.value] = line
            yield from _duplicate_keys(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicate_keys(item, (*at, index))


def _explain(root: yaml.Node, error: ErrorDetails) -> str:
    """One line for one mistake: place, what, and the mend."""
    kind, context = error["type"], error.get("ctx", {})
    mistake = context.get("error")
    line, at = _place(root, mistake.at if isinstance(mistake, MistakeAt) else error["loc"])
    if kind == "missing":
        what = f"is missing; add `{error['loc'][-1]}:`"
    elif kind == "extra_forbidden":
        what = _unknown_key(error["loc"])
    elif kind in {"literal_error", "enum", "union_tag_invalid"}:
        allowed = context.get("expected") or context.get("expected_tags")
        given = context.get("tag", error["input"])
        what = f"{given!r} is not one of {allowed}"
    elif kind == "union_tag_not_found":
        what = "needs a `kind`"
    elif kind == "value_error":
        what = str(context.get("error", error["msg"]))
    else:
        what = f"{error['msg'][:1].lower()}{error['msg'][1:]}, not {error['input']!r}"
    return f"line {line}{', ' + at if at else ''}: {what}"


def _place(root: yaml.Node, location: Location) -> tuple[int, str]:
    """Line and dotted path of the deepest part of a location that the YAML has.

    Parts that are not in the YAML (tags of unions, missing keys) are skipped, except for a missing last key.
    """
    node, line, path = root, root.start_mark.line + 1, []
    for depth, part in enumerate(location):
        child = _child(node, part)
        if child is not None:
            key, node = child
            line = key.start_mark.line + 1
            path.append(part)
        elif depth == len(location) - 1 and isinstance(part, str) and isinstance(node, yaml.MappingNode):
            path.append(part)
    return line, _dotted(path)


def _child(node: yaml.Node, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((k, v) for k, v in node.value if k.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _dotted(path: Sequence[int | str]) -> str:
    return "".join(f"[{p + 1}]" if isinstance(p, int) else f".{p}" for p in path).lstrip(".")


def _unknown_key(location: Location) -> str:
    key = str(location[-1])
    known = _fields_at(ModelConfig, location[:-1])
    close = difflib.get_close_matches(key, known, n=1)
    return f"unknown key; did you mean `{close[0]}`?" if close else f"unknown key; known here: {', '.join(known)}"


def _fields_at(annotation: Any, location: Location) -> list[str]:
    """Names of the fields that the schema has at a location."""
    sections = list(_sections(annotation))
    if not location:
        return [f.alias or name for s in sections for name, f in s.model_fields.items()]
    for section in sections:
        for name, field in section.model_fields.items():
            if location[0] == (field.alias or name):
                return _fields_at(field.annotation, location[1:])
    # A list's index or a union's tag: the tag narrows the sections that remain.
    tagged = [s for s in sections if location[0] in get_args(getattr(s.model_fields.get("kind"), "annotation", None))]
    return _fields_at(Union[tuple(tagged)] if tagged else annotation, location[1:])  # noqa: UP007  (built at run time)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {list, dict, Union, types.UnionType, Annotated}:
        for argument in get_args(annotation):
            yield from _sections(argument)
