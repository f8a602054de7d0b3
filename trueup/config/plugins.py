"""Parts of a config that their `kind` names: gates, sources, sinks and policies.

A kind is one of the library's, or `module:Class` of the user's own: a file beside the config, or an installed package.
Either is one class with its config keys and its behaviour. Only the classes that a config names are imported.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import GetJsonSchemaHandler, ModelWrapValidatorHandler, ValidationInfo, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from trueup.config.content import Location
from trueup.config.own_code import load_function
from trueup.config.section import DOTTED, Section
from trueup.errors import SourceError

ROOT = "root"  # in the context of a validation: the folder of the configs, where the user's own modules are


class Plugin(Section):
    """A part of a config with its class named by `kind`. A direct subclass has the table of kinds."""

    KINDS: ClassVar[Kinds]
    kind: str

    @property
    def own(self) -> bool:
        """Whether the class is the user's own."""
        return ":" in self.kind

    @classmethod
    def named_columns(cls, content: Mapping[str, Any]) -> Iterator[tuple[Location, Any]]:
        """Columns of the data that the written part names, each with its place in the part."""
        del content
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        if "KINDS" not in cls.__dict__ or isinstance(value, cls):
            return handler(value)
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise ValueError("needs a `kind`")
        kind = cls.KINDS.find(value["kind"], (info.context or {}).get(ROOT))
        return kind.model_validate(value, context=info.context)  # type: ignore[return-value]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if "KINDS" not in cls.__dict__:
            return handler(core_schema)
        what = (
            f"A {cls.KINDS.what} of your own: `module:Class`, of a file beside the config or of an installed package."
        )
        kind = {"type": "string", "pattern": DOTTED, "description": what}
        own = {"description": what, "properties": {"kind": kind}, "required": ["kind"], "type": "object"}
        shipped = [
            _with_kind(handler.resolve_ref_schema(handler(c.__pydantic_core_schema__))) for c in cls.KINDS.classes()
        ]
        return {"description": cls.__doc__, "oneOf": [*shipped, own]}

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.own:
            return super().__reduce_ex__(protocol)
        base = next(c for c in type(self).__mro__ if "KINDS" in c.__dict__)
        return _again, (base, self.model_dump(mode="json", by_alias=True), root_of(self))


@dataclass(frozen=True)
class Kinds:
    """The allowed kinds: the library's classes by name, and subclasses of `base`. Both are dotted paths."""

    what: str
    base: str
    shipped: Mapping[str, str]

    def find(self, kind: str, root: Path | None = None) -> type[Plugin]:
        """The class of a kind. Raises ValueError with the correct form."""
        if dotted := self.shipped.get(kind):
            return _imported(dotted)
        if not re.fullmatch(DOTTED, kind):
            problem = f"not one of {', '.join(map(repr, self.shipped))}" if self.shipped else f"no {self.what}"
            raise ValueError(f"{kind!r} is {problem}; a {self.what} of your own is named as `module:Class`")
        try:
            loaded: Any = load_function(kind, root or Path())
        except SourceError as error:
            raise ValueError(str(error)) from error
        base = _imported(self.base)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            module, name = self.base.split(":")
            raise ValueError(
                f"{kind} is no {self.what}; write `class {kind.split(':')[1]}({name})` with {name} of {module}"
            )
        if missing := sorted(loaded.__abstractmethods__):
            raise ValueError(f"{kind} does not define {', '.join(missing)}; define it as in `{base.__name__}`")
        _ROOTS[loaded] = root
        return loaded

    def classes(self) -> list[type[Plugin]]:
        """The library's own, in order."""
        return [_imported(dotted) for dotted in self.shipped.values()]


_ROOTS: dict[type[Plugin], Path | None] = {}  # by class of the user's: the folder of the configs that named it


def root_of(*parts: Plugin) -> Path | None:
    """The folder of the configs in which the user's own classes among some parts were found; None without any."""
    return next((root for part in parts if (root := _ROOTS.get(type(part)))), None)


def own_modules(parts: Iterable[Plugin]) -> list[str]:
    """The kinds among some parts that are the user's own, each once."""
    return list(dict.fromkeys(part.kind for part in parts if part.own))


def _imported(dotted: str) -> type[Plugin]:
    module, name = dotted.split(":")
    imported: type[Plugin] = getattr(importlib.import_module(module), name)
    return imported


def _with_kind(schema: JsonSchemaValue) -> JsonSchemaValue:
    """The schema of a class whose `kind` is required, although the class has a default for it."""
    kind = {"const": schema["properties"]["kind"]["const"], "description": schema["description"]}
    required = ["kind", *(key for key in schema.get("required", []) if key != "kind")]
    return {**schema, "properties": {**schema["properties"], "kind": kind}, "required": required}


def _again(base: type[Plugin], content: dict[str, Any], root: Path | None) -> Plugin:
    """Recreate a part: another process cannot import the user's class by its module's name."""
    return base.model_validate(content, context={ROOT: root})
