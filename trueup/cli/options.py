"""Options shared by commands, and the home for a command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.completion import models
from trueup.config.load import model_names
from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.orchestration.actor import at_the_command_line

if TYPE_CHECKING:
    from trueup.home import Home

ModelName = Annotated[
    str, typer.Argument(help="Name of a config: configs/<MODEL>.yaml.", show_default=False, autocompletion=models)
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="TIME",
        help="The moment for which to run, such as 2013-04-01. Default: by the config's clock.",
    ),
]
Tags = Annotated[
    list[str] | None,
    typer.Option(
        "--tag", metavar="TAG", help="Only models with this tag in their config; repeat it for any of several."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]


def moment(text: str | None) -> datetime | None:
    """Parse a time. Raises UsageError."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write it as 2013-04-01 or 2013-04-01T06:00") from None


def month(text: str) -> datetime:
    """Parse a month. Raises UsageError."""
    try:
        return datetime.strptime(text, "%Y-%m")
    except ValueError:
        raise UsageError(f"{text!r} is not a month; write it as 2013-09") from None


@contextmanager
def at_home(configs: str | None = None, *, looks: bool = False) -> Iterator[Home]:
    """The home, for commands that need no flow; with `looks` it is read-only."""
    from trueup.home import Home

    home = Home(Settings().model_copy(update={"configs": Path(configs)}) if configs else None, looks=looks)
    home.actor = at_the_command_line()
    try:
        yield home
    finally:
        home.close()


def names(home: Home, model: str | None, tags: Sequence[str] | None = None) -> list[str]:
    """The named model, or all with a config, or those with any of the tags.

    Raises UnknownModel, and UsageError without any, for an unknown tag, and for a model and tags.
    """
    if model is not None and tags:
        raise UsageError("name a model or give --tag, not both")
    if model is not None:
        return [model]
    if tags:
        from trueup.orchestration.fleet.selection import choose

        return [chosen.name for chosen in choose(home.configs, tags)]
    if not (listed := model_names(home.configs)):
        raise UsageError(
            f"no configs in {home.configs.resolve()}; change to the project's folder or set TRUEUP_CONFIGS"
        )
    return listed
