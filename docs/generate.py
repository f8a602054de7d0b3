"""Write the pages of docs/ that can go stale: config, events and the command line from the code, capacity from measured costs.

`python -m docs.generate` writes them; the tests compare.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from docs.capacity import capacity_page
from docs.faults import faults_page
from trueup.config import json_schema
from trueup.config.durations import Duration, write_duration
from trueup.config.plugins import Plugin
from trueup.config.schema import ModelConfig
from trueup.config.settings import Settings
from trueup.domain.events import PAYLOADS

HERE = Path(__file__).parent


def config_page() -> str:
    """The reference of a model's YAML, in stage order."""
    lines = [
        "# Config reference",
        "",
        "Generated from `trueup/config/schema.py` by `make docs`. One file a model, `configs/<model>.yaml`, in stage order.",
        "A span of time is a number and a unit: `1 day`, `28 days`, `90 minutes`. A share is between 0 and 1.",
        "The `kind` of a source, sink, gate or policy may also be `module:Class`, [a class of your own](how-to/custom.md).",
        "",
    ]
    lines += [*_table(ModelConfig), ""]
    for name, field in ModelConfig.model_fields.items():
        for section in _sections(field.annotation):
            lines += _section(field.alias or name, section, level=2)
    lines += ["## Environment", "", "Locations and secrets. Secrets are never in a model's file.", ""]
    lines += ["| variable | default | |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `TRUEUP_{name.upper()}` | {_default(field)} | {field.description or ''} |")
    return "\n".join(lines) + "\n"


def _section(path: str, section: type[BaseModel], level: int) -> Iterator[str]:
    kind = section.model_fields.get("kind")
    title = f"`{path}`" + (f", kind `{get_args(kind.annotation)[0]}`" if kind else "")
    yield from ["#" * min(level, 4) + " " + title, "", section.__doc__ or "", "", *_table(section), ""]
    for name, field in section.model_fields.items():
        for inner in _sections(field.annotation):
            yield from _section(f"{path}.{field.alias or name}", inner, level + 1)


def _table(section: type[BaseModel]) -> Iterator[str]:
    yield from ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        if name != "kind":
            yield f"| `{field.alias or name}` | {_kind(field)} | {_default(field)} | {field.description or ''} |"


def _kind(field: FieldInfo) -> str:
    return _words(field.annotation).replace("|", "\\|")


def _words(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is get_args(Duration)[0]:
        return "span of time"
    if origin is Annotated:
        return _words(arguments[0])
    if origin is Literal:
        return ", ".join(f"`{a}`" for a in arguments)
    if origin in {Union, types.UnionType}:
        return " or ".join(dict.fromkeys(_words(a) for a in arguments if a is not type(None)))
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return f"{_words(arguments[0])} → {_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if hasattr(annotation, "__members__"):
        return ", ".join(f"`{m.value}`" for m in annotation)
    return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Any": "any"}.get(
        getattr(annotation, "__name__", str(annotation)), "text"
    )


def _default(field: FieldInfo) -> str:
    value = field.default
    if field.is_required() or value is PydanticUndefined:
        return "required" if field.is_required() else ""
    if value is None or isinstance(value, BaseModel) or value == "":
        return ""
    if hasattr(value, "total_seconds"):
        return f"`{write_duration(value)}`"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(f"`{v['kind']}`" for v in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, Plugin) and "KINDS" in annotation.__dict__:
        yield from annotation.KINDS.classes()
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def cli_page() -> str:
    """Every command's help."""
    import click
    from typer.main import get_command

    from trueup.cli.main import app

    def pages(command: click.Command, path: str) -> Iterator[str]:
        context = click.Context(command, info_name=path, max_content_width=100, terminal_width=100)
        yield from [f"## `{path}`", "", "```", command.get_help(context).rstrip(), "```", ""]
        for name, inner in sorted(getattr(command, "commands", {}).items()):
            yield from pages(inner, f"{path} {name}")

    head = [
        "# Command line",
        "",
        "Generated from `--help` by `make docs`. Exit codes: 0 done (a run with a rejected challenger is done, too),",
    ]
    head += ["1 the work failed or the data is wrong, 2 wrong usage or config.", ""]
    return "\n".join([*head, *pages(get_command(app), "trueup")])


def events_page() -> str:
    """Every event's payload and its JSON schema."""
    lines = [
        "# Events",
        "",
        "Generated from `trueup/domain/events.py` by `make docs`. An event waits in the outbox until the event server has",
        "accepted it. An event about a decision is written in the decision's transaction. Its id is derived",
        "from its topic, its model and its subject, so the same event twice is one event. In Prefect its resource is",
        "`prefect.resource.id: trueup.model.<model>`, so that a trigger can match `trueup.model.*` for each model.",
        "",
        "| topic | |",
        "|---|---|",
        *(f"| [`{p.topic}`](#{p.topic.replace('.', '')}) | {_summary(p)} |" for p in PAYLOADS),
        "",
    ]
    for payload in PAYLOADS:
        schema = json.dumps(payload.model_json_schema(), indent=2)
        lines += [f"## `{payload.topic}`", "", payload.__doc__ or "", "", *_table(payload), ""]
        lines += ["<details><summary>JSON schema</summary>", "", "```json", schema, "```", "", "</details>", ""]
    return "\n".join(lines)


def _summary(payload: type[BaseModel]) -> str:
    return (payload.__doc__ or "").strip().splitlines()[0]


def config_schema_text() -> str:
    """The schema of configs for editors."""
    return json_schema.texts()[json_schema.CONFIG]


def environment_schema_text() -> str:
    """The schema of environments for editors."""
    return json_schema.texts()[json_schema.ENVIRONMENT]


PAGES = {
    "capacity.md": capacity_page,
    "config.schema.json": config_schema_text,
    "environment.schema.json": environment_schema_text,
    "config.md": config_page,
    "cli.md": cli_page,
    "events.md": events_page,
    "faults.md": faults_page,
}


def main() -> None:
    """Write all generated pages."""
    for name, page in PAGES.items():
        (HERE / name).write_text(page(), encoding="utf-8")
        sys.stderr.write(f"wrote docs/{name}\n")
    json_schema.write_schemas(HERE.parent / "configs")


if __name__ == "__main__":
    main()
