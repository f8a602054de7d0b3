"""The command that makes a config from a table: new."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from trueup.cli import output, output_new
from trueup.cli.options import Json
from trueup.config.tasks import Task


def new(
    name: Annotated[str, typer.Argument(help="The new model's name: small letters, digits and _.", show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            help="A file, a folder, a glob or an address; a database (with --query); or module:function.",
            show_default=False,
        ),
    ],
    time: Annotated[str, typer.Option(help="The column with a row's event time.", show_default=False)],
    label: Annotated[str, typer.Option(help="The column that holds the outcome to predict.", show_default=False)],
    key: Annotated[
        list[str] | None, typer.Option(help="A column that names a row; may be given several times. Default: found.")
    ] = None,
    label_available_after: Annotated[
        str | None,
        typer.Option(
            metavar="SPAN", help="How long an outcome takes, such as '30 days'. Default: guessed, and marked."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(metavar="DATA", help="Where the outcomes lie when not beside the rows: a second file or address."),
    ] = None,
    query: Annotated[str | None, typer.Option(help="SQL: what to read from the database, or from `files`.")] = None,
    task: Annotated[
        Literal["binary", "multiclass", "regression"] | None, typer.Option(help="Default: by the outcome's values.")
    ] = None,
    positive: Annotated[str | None, typer.Option(help="The outcome that counts as 1, where it is one of two.")] = None,
    above: Annotated[float | None, typer.Option(help="An outcome above this counts as 1, all others as 0.")] = None,
    timezone: Annotated[str, typer.Option(help="The model's time zone; times without one are in it.")] = "UTC",
    period: Annotated[
        Literal["day", "week", "month"] | None, typer.Option(help="Of a batch. Default: by the rows.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="Look at earlier rows only, so that a replay of the later ones does not flatter."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite a config of that name.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a table and write a config for a model of it, with every guess marked and why.

    Writes configs/<NAME>.yaml, and the model's deployments at the end of prefect.yaml where there is one beside the configs.
    Columns that know the answer are left out and named. Nothing else is written, and nothing is trained.
    """
    from trueup.cli.options import moment
    from trueup.domain.profiling.questions import Ask
    from trueup.home import Home
    from trueup.onboarding.deployments import deploy
    from trueup.onboarding.new_model import draft, save, span_of

    after = span_of(label_available_after) if label_available_after else None
    ask = Ask(
        name,
        data,
        time,
        label,
        tuple(key or ()),
        after,
        query,
        labels,
        Task(task) if task else None,
        positive,
        above,
        timezone,
        period,
        moment(until),
    )
    home = Home()
    try:
        drafted = draft(ask, home, force)
        save(drafted, force)
        deployed = deploy(drafted.config, home.configs)
    finally:
        home.close()
    if as_json:
        output.as_json(output_new.drafted_json(drafted, deployed))
    else:
        output_new.drafted(drafted, deployed)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(new)
