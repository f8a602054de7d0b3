"""The commands `init`, `upgrade` and `schema`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from trueup.cli import output
from trueup.cli.new import After, Key
from trueup.cli.options import Json, at_home
from trueup.cli.output import project_text
from trueup.errors import UsageError
from trueup.project.choices import Choices, Ci, Deploy, Example, choices_of

if TYPE_CHECKING:
    from trueup.onboarding.new_model import Drafted

Folder = Annotated[Path, typer.Argument(help="The project's folder: new or empty, or a project.", show_default=False)]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="DATA", help="A table, of which `new` makes the first model; see `trueup new`."),
]
Model = Annotated[str | None, typer.Option(help="With --from: the model's name. Default: that of the table's file.")]


def init(
    folder: Folder,
    data: From = None,
    model: Model = None,
    time: Annotated[str | None, typer.Option(help="With --from: the column with a row's event time.")] = None,
    label: Annotated[str | None, typer.Option(help="With --from: the column with the outcome to predict.")] = None,
    key: Key = None,
    label_available_after: After = None,
    example: Annotated[
        Example | None, typer.Option(help="A model to begin with. Default: made-up, or none with --from.")
    ] = None,
    ci: Annotated[
        Ci | None, typer.Option(help="Templates of this CI system. Default: none, or that of the project.")
    ] = None,
    target: Annotated[
        Deploy | None,
        typer.Option(
            "--deploy", help="Where flow runs of the project start. Default: process, or that of the project."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="The project's name. Default: that of the folder.")] = None,
    as_json: Json = False,
) -> None:
    """Write a project of your own: configs, flows, tasks, tests and deployments, which run at once.

    In a folder that is a project already, only missing files are written.
    """
    from trueup.project.init import write_project

    if data is not None and (time is None or label is None):
        raise UsageError("--from needs --time and --label, the columns with a row's time and with the outcome")
    if data is None and any(value is not None for value in (model, time, label, key, label_available_after)):
        raise UsageError(
            "--model, --time, --label, --key and --label-available-after describe a table: add --from DATA"
        )
    folder = folder.expanduser().resolve()
    choices = _choices(folder, name, ci, target, example or ("none" if data else None))
    made = write_project(folder, choices, _first_model(folder, data, model, time, label, key, label_available_after))
    output.emit(as_json, made, lambda: project_text.made(made))


def upgrade(as_json: Json = False) -> None:
    """Show how the project's glue differs from the templates of the installed version. Nothing is overwritten."""
    from trueup.config.project import project_root
    from trueup.project.upgrade import compare

    compared = compare(project_root())
    output.emit(as_json, compared, lambda: project_text.compared(compared))


def schema(
    of: Annotated[
        Literal["config", "environment"], typer.Argument(help="The file that the schema describes.")
    ] = "config",
    write: Annotated[
        bool, typer.Option("--write", help="Write both schemas into the folder .schema of the configs instead.")
    ] = False,
) -> None:
    """Print the JSON schema of a config, with which editors complete keys, show descriptions and find mistakes.

    `trueup init` and `trueup new` write it into configs/.schema, and the first line of each config names it there.
    """
    from trueup.config import json_schema
    from trueup.config.settings import Settings

    if write:
        for path in json_schema.write_schemas(Settings().configs):
            typer.echo(path)
        return
    typer.echo(json_schema.texts()[f"{of}.json"], nl=False)


def _choices(folder: Path, name: str | None, ci: Ci | None, target: Deploy | None, example: Example | None) -> Choices:
    """What was chosen; what was not is as in the project, if the folder is one."""
    try:
        kept = choices_of(folder)
    except UsageError:
        kept = Choices(name or folder.name)
    return Choices(name or kept.name, ci or kept.ci, target or kept.deploy, example or kept.example)


def _first_model(
    folder: Path,
    data: str | None,
    model: str | None,
    time: str | None,
    label: str | None,
    key: list[str] | None,
    available_after: str | None,
) -> Drafted | None:
    """The config of the first model, from a table; None without one."""
    if data is None or time is None or label is None:
        return None
    from trueup.config.project import CONFIGS
    from trueup.domain.profiling.questions import Ask
    from trueup.onboarding.new_model import draft, span_of

    named = model or re.sub(r"[^a-z0-9_]+", "_", Path(data).name.split(".")[0].lower()).strip("_")
    span = span_of(available_after) if available_after else None
    with at_home(str(folder / CONFIGS)) as home:
        return draft(Ask(named, data, time, label, tuple(key or ()), span), home)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(init)
    app.command()(upgrade)
    app.command()(schema)
