"""Turns a YAML file into a `ModelConfig`, or into all of its mistakes, each with its line and a fix."""

from __future__ import annotations

import os
import re
import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from trueup.config.content import Location, items, written
from trueup.config.contract.applied import with_contract
from trueup.config.environments import overridden
from trueup.config.plugins import ROOT, Plugin
from trueup.config.rules import Mistake, contradictions
from trueup.config.schema import ModelConfig
from trueup.config.section import NAME
from trueup.errors import ConfigError, UnknownModel
from trueup.hints import did_you_mean

_NAME = re.compile(NAME)


def model_names(configs: Path) -> list[str]:
    """Names of the models with a config, in order, without files such as `<name>.usual.yaml`."""
    return sorted(p.stem for p in configs.glob("*.yaml") if "." not in p.stem)


def sound_name(name: str) -> str:
    """Check a model's name from outside. Raises UnknownModel for one that no model can have."""
    if not _NAME.fullmatch(name):
        raise UnknownModel(f"{name[:80]!a} can be no model's name: small letters, digits and _, at most 63")
    return name


def load_model(configs: Path, name: str) -> ModelConfig:
    """Read `configs/<name>.yaml`. Raises UnknownModel without such a file, ConfigError with every mistake in it."""
    return _config(read(configs, name))


def parse_model(text: str, where: str = "config", root: Path | None = None) -> ModelConfig:
    """Read a config from text; `where` names it in messages, `root` is the folder of the configs. Raises ConfigError."""
    written = _parse(text, where, root)
    return _config(written if root is None else _contracted(written, root))


def _config(written: Written) -> ModelConfig:
    if mistakes := written.mistakes():
        raise written.refusal(mistakes)
    return written.config()


@dataclass(frozen=True)
class Written:
    """A config file, right or wrong, with the lines of its keys."""

    where: str
    content: dict[str, Any]
    node: Node
    root: Path | None = None  # the folder of the configs, where the user's own classes are
    name: str | None = None  # the file's, if there is one
    contract: tuple[Mistake, ...] = ()  # those of the data contract that it names
    own: int | None = None  # number of expectations that are not from a data contract, if some are

    def config(self) -> ModelConfig:
        """The parsed config. Raises ValidationError."""
        return ModelConfig.model_validate(self.content, context={ROOT: self.root})

    def mistakes(self) -> list[Mistake]:
        """All mistakes that need no library."""
        mistakes = [*_duplicate_keys(self.node), *contradictions(self.content, self.root), *self.contract]
        try:
            model = self.config().model
        except ValidationError as error:
            return mistakes + [_explain(e, self) for e in error.errors(include_url=False)]
        if self.name is not None and model != self.name:
            mistakes.append(Mistake(("model",), f"it is {model!r}; the file's name and `model` must be the same"))
        return mistakes

    def messages(self, mistakes: Iterable[Mistake]) -> list[str]:
        """Each mistake once, with its line, in the order of the lines."""
        placed = sorted((_placed(self.node, self._at_contract(m)) for m in mistakes), key=lambda p: (p[0], str(p[1])))
        lines = (
            f"line {line}, {mistake}" if mistake.at else f"line {line}: {mistake.what}" for line, mistake in placed
        )
        return list(dict.fromkeys(lines))

    def _at_contract(self, mistake: Mistake) -> Mistake:
        """A mistake of an expectation that comes from the data contract, at the place that names the contract."""
        at = mistake.at
        if self.own is None or at[:2] != ("validate", "expectations") or len(at) < 3:
            return mistake
        if not isinstance(at[2], int) or at[2] < self.own:
            return mistake
        return Mistake(("ingest", "contract"), f"{written(self.content, 'ingest', 'contract')}: {mistake.what}")

    def refusal(self, mistakes: Iterable[Mistake]) -> ConfigError:
        return ConfigError(self.where, self.messages(mistakes))


def read(configs: Path, name: str) -> Written:
    """Read `configs/<name>.yaml`. Raises UnknownModel, and ConfigError if it is not YAML."""
    path = configs / f"{name}.yaml"
    if "." in name or not os.path.lexists(path):  # a link that leads nowhere is there, and cannot be read
        names = model_names(configs)
        hint = did_you_mean(name, names, f"known models: {', '.join(names) or 'none'}")
        raise UnknownModel(f"{name}: no {path}; {hint}; TRUEUP_CONFIGS names another folder of configs")
    try:
        content = path.read_bytes()
        written = _parse(content.decode(), str(path), configs, name)
    except OSError as error:
        raise ConfigError(str(path), [f"cannot be read: {error.strerror}; fix that, then run again"]) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        what = f"line {line}: not UTF-8 (byte {content[error.start]:#04x}); save the file as UTF-8"
        raise ConfigError(str(path), [what]) from None
    changed, where = overridden(written.content, configs, str(path))
    return _contracted(replace(written, content=changed, where=where), configs)


def _contracted(config: Written, configs: Path) -> Written:
    """A config with the rules of the data contract that it names."""
    content, mistakes = with_contract(config.content, configs)
    own = None if content is config.content else len(list(items(config.content, "validate", "expectations")))
    return replace(config, content=content, contract=mistakes, own=own)


def _parse(text: str, where: str, root: Path | None = None, name: str | None = None) -> Written:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.allow_duplicate_keys = True  # `Written.mistakes` names them all
    try:
        node = yaml.compose(text)
        content = None if node is None else yaml.constructor.construct_document(node)
    except YAMLError as error:
        raise ConfigError(where, [_syntax(error)]) from None
    if node is None or not isinstance(content, dict):
        raise ConfigError(where, ["line 1: expected keys such as `model:`, `task:` and `ingest:`; see docs/config.md"])
    return Written(where, content, node, root, name)


class _Constructor(SafeConstructor):
    """Adds the place to errors about invalid values, such as the 30th of February, and about keys that are not text."""

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except ValueError as error:
            raise MarkedYAMLError(None, None, f"{node.value} cannot be: {error}", node.start_mark) from None

    def check_mapping_key(self, node: Node, key_node: Node, mapping: Any, key: Any, value: Any) -> bool:
        if not isinstance(key_node, ScalarNode):
            raise MarkedYAMLError(None, None, "a list or a map cannot be a key", key_node.start_mark)
        return bool(super().check_mapping_key(node, key_node, mapping, key, value))


def _syntax(error: YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    problem = getattr(error, "problem", None) or " ".join(str(error).split())
    return f"{place}not YAML: {problem}; check the indentation and the quotes there"


def _duplicate_keys(node: Node, at: Location = ()) -> Iterator[Mistake]:
    """YAML lets a later key silently replace an earlier one; we do not."""
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                yield Mistake((*at, key.value), f"duplicate key (first on line {seen[key.value]}); remove one")
            seen[key.value] = line
            yield from _duplicate_keys(value, (*at, key.value))
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicate_keys(item, (*at, index))


def _explain(error: ErrorDetails, written: Written) -> Mistake:
    """Pydantic's finding, and a fix."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        what = f"is missing; add `{error['loc'][-1]}:`"
    elif kind == "extra_forbidden":
        what = _unknown_key(error["loc"], written)
    elif kind in {"literal_error", "enum", "union_tag_invalid"}:
        allowed = context.get("expected") or context.get("expected_tags")
        value = context.get("tag", error["input"])
        what = f"{value!r} is not one of {allowed}"
    elif kind == "union_tag_not_found":
        what = "needs a `kind`"
    elif kind == "value_error":
        what = str(context.get("error", error["msg"]))
    else:
        what = f"{error['msg'][:1].lower()}{error['msg'][1:]}, not {error['input']!r}"
    return Mistake(error["loc"], what)


def _placed(root: Node, mistake: Mistake) -> tuple[int, Mistake]:
    """The line of the deepest part of a mistake's place that the YAML has.

    Parts that are not in the YAML (tags of unions, missing keys) are left out of the place, except a missing last key.
    """
    node, line, path = root, root.start_mark.line + 1, list[int | str]()
    for depth, part in enumerate(mistake.at):
        child = _child(node, part)
        if child is not None:
            key, node = child
            line = key.start_mark.line + 1
            path.append(part)
        elif depth == len(mistake.at) - 1 and isinstance(part, str) and isinstance(node, MappingNode):
            path.append(part)
    return line, Mistake(tuple(path), mistake.what)


def _child(node: Node, part: int | str) -> tuple[Node, Node] | None:
    if isinstance(node, MappingNode):
        return next(((k, v) for k, v in reversed(node.value) if k.value == str(part)), None)
    if isinstance(node, SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _unknown_key(location: Location, written: Written) -> str:
    key = str(location[-1])
    fields = _fields_at(ModelConfig, written.content, location[:-1], written.root)
    return "unknown key; " + did_you_mean(key, fields, f"known here: {', '.join(fields)}", "`{}`".format)


def _fields_at(annotation: Any, content: Any, location: Location, root: Path | None) -> list[str]:
    """Names of the fields that the schema has at a location of a config's content."""
    sections = [_of_kind(section, content, root) for section in _sections(annotation)]
    if not location:
        return [f.alias or name for s in sections for name, f in s.model_fields.items()]
    part, rest = location[0], location[1:]
    if isinstance(content, list) and isinstance(part, int):
        return _fields_at(annotation, content[part], rest, root)
    inner = content.get(part) if isinstance(content, dict) else None
    for section in sections:
        for name, field in section.model_fields.items():
            if part == (field.alias or name):
                return _fields_at(field.annotation, inner, rest, root)
    # A key of a mapping or a union's tag: the tag narrows the sections that remain.
    tagged = [s for s in sections if part in get_args(getattr(s.model_fields.get("kind"), "annotation", None))]
    of = Union[tuple(tagged)] if tagged else annotation  # noqa: UP007  (built at run time)
    return _fields_at(of, content if inner is None else inner, rest, root)


def _of_kind(section: type[BaseModel], content: Any, root: Path | None) -> type[BaseModel]:
    """The class that the `kind` in the content names, for sections that have kinds."""
    if issubclass(section, Plugin) and "KINDS" in section.__dict__ and isinstance(content, dict):
        return section.KINDS.find(str(content.get("kind")), root)
    return section


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in {list, dict, Union, types.UnionType, Annotated}:
        for argument in get_args(annotation):
            yield from _sections(argument)
