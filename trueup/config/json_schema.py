"""The JSON schemas of configs and environments, with which editors complete keys, show their descriptions and find mistakes.

A file names its schema in its first line, in the way of yaml-language-server, which the editors' YAML plugins use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from trueup import files
from trueup.config.durations import write_duration
from trueup.config.environments import OVERRIDES, Environment
from trueup.config.schema import ModelConfig

FOLDER: Final = ".schema"  # in the folder of the configs
CONFIG: Final = "config.json"
ENVIRONMENT: Final = "environment.json"
_LINE: Final = "# yaml-language-server: $schema="
CONFIG_LINE: Final = f"{_LINE}{FOLDER}/{CONFIG}"  # the first line of a config
ENVIRONMENT_LINE: Final = f"{_LINE}../configs/{FOLDER}/{ENVIRONMENT}"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def config_schema() -> dict[str, Any]:
    """The schema of `configs/<model>.yaml`. Rules across sections, and numbers in quotes, are left to `trueup check`."""
    return _schema(ModelConfig, "Config of a model", "One model, from source to monitoring.")


def environment_schema() -> dict[str, Any]:
    """The schema of `environments/<name>.yaml`: `overrides` takes the allowed keys of a config, and their values."""
    schema, config = (
        _schema(Environment, "Environment of a project", "What differs in an environment."),
        config_schema(),
    )
    allowed = dict(found for dotted in OVERRIDES for found in _at(config, dotted))
    schema["properties"]["overrides"] |= {"properties": allowed, "additionalProperties": False}
    return schema


@cache
def texts() -> dict[str, str]:
    """The text of each schema file, by its name in the folder `.schema`."""
    return {CONFIG: _text(config_schema()), ENVIRONMENT: _text(environment_schema())}


def write_schemas(configs: Path, overwrite: bool = True) -> list[Path]:
    """Write the schema files below a folder of configs, and return them; existing ones stay without `overwrite`."""
    paths = {configs / FOLDER / name: text for name, text in texts().items()}
    chosen = {path: text for path, text in paths.items() if overwrite or not path.exists()}
    for path, text in chosen.items():
        files.write_text(path, text)
    return list(chosen)


class _Generator(GenerateJsonSchema):
    """Writes spans of time as people do, and leaves out titles and the defaults of whole sections."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return write_duration(dft)
        return super().encode_default(dft)

    def default_schema(self, schema: Any) -> JsonSchemaValue:
        made = super().default_schema(schema)
        if isinstance(schema.get("default"), BaseModel) or made.get("default", 0) is None:
            made.pop("default", None)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _schema(section: type[BaseModel], title: str, about: str) -> dict[str, Any]:
    made: dict[str, Any] = section.model_json_schema(schema_generator=_Generator)
    for part in _parts(made):
        part.pop("title", None)
        if "patternProperties" in part:
            part.setdefault("additionalProperties", False)
        if isinstance(part.get("description"), str):
            part["description"] = " ".join(part["description"].split())
    return {"$schema": _DIALECT, "title": title, **made, "description": about}


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Every schema within a schema. Keys of `properties` are names of a config, not keywords."""
    if isinstance(node, list):
        for inner in node:
            yield from _parts(inner)
    elif isinstance(node, dict):
        yield node
        for keyword, inner in node.items():
            named = keyword in {"properties", "$defs", "patternProperties"}
            for value in inner.values() if named else [inner]:
                if keyword not in {"default", "enum", "const", "examples"}:
                    yield from _parts(value)


def _at(config: dict[str, Any], dotted: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schema of a config's key, or of each key of a section, by its dotted name."""
    node = config
    for key in dotted.split("."):
        node = _resolved(config, node)["properties"][key]
    inner = _resolved(config, node)
    yield dotted, inner
    for key in inner.get("properties", {}):
        yield from _at(config, f"{dotted}.{key}")


def _resolved(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = schema["$defs"][node["$ref"].rsplit("/", 1)[1]] if "$ref" in node else node
    return found


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"
