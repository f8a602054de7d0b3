"""The command that makes a config from a table: new."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from trueup.cli import output, output_new
from trueup.cli.options import Json, at_home, moment
from trueup.config.tasks import Task

Name = Annotated[str, typer.Argument(help="The new model's name: small letters, digits and _.", show_default=False)]
Data = Annotated[
    str,
    typer.Option(
        help="A file, a folder, a glob or an address; a database (with --query); or module:function.",
        show_default=False,
    ),
]
Time = Annotated[str, typer.Option(help="The column with a row's event time.", show_default=False)]
Label = Annotated[str, typer.Option(help="The column that holds the outcome to predict.", show_default=False)]
Key = Annotated[
    list[str] | None, typer.Option(help="A column that names a row; may be given several times. Default: found.")
]
After = Annotated[
    str | None,
    typer.Option(metavar="SPAN", help="How long an outcome takes, such as '30 days'. Default: guessed, and marked."),
]
Labels = Annotated[
    str | None,
    typer.Option(metavar="DATA", help="Where the outcomes are if not beside the rows: a second file or address."),
]
Query = Annotated[str | None, typer.Option(help="SQL: what to read from the database, or from `files`.")]
TaskName = Annotated[
    Literal["binary", "multiclass", "regression"] | None, typer.Option(help="Default: by the outcome's values.")
]
Positive = Annotated[str | None, typer.Option(help="The outcome that counts as 1, where it is one of two.")]
Above = Annotated[float | None, typer.Option(help="An outcome above this counts as 1, all others as 0.")]
Zone = Annotated[str, typer.Option(help="The model's time zone; times without one are in it.")]
Period = Annotated[Literal["day", "week", "month"] | None, typer.Option(help="Of a batch. Default: by the rows.")]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Look at earlier rows only, so that a replay of the later ones is not too optimistic."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite a config of that name.")]


def new(
    name: Name,
    data: Data,
    time: Time,
    label: Label,
    key: Key = None,
    label_available_after: After = None,
    labels: Labels = None,
    query: Query = None,
    task: TaskName = None,
    positive: Positive = None,
    above: Above = None,
    timezone: Zone = "UTC",
    period: Period = None,
    until: Until = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Look at a table and write a config for a model of it, with every guess marked and why.

    Writes configs/<NAME>.yaml, and the model's deployments at the end of prefect.yaml where there is one beside the configs.
    Columns that know the answer are left out and named. Nothing else is written, and nothing is trained.
    """
    from trueup.domain.profiling.questions import Ask
    from trueup.onboarding.deployments import deploy
    from trueup.onboarding.new_model import draft, save, span_of

    ask = Ask(
        name, data, time, label, tuple(key or ()), span_of(label_available_after) if label_available_after else None,
        query, labels, Task(task) if task else None, positive, above, timezone, period, moment(until),
    )  # fmt: skip
    with at_home() as home:
        drafted = draft(ask, home, force)
        save(drafted, force)
        deployed = deploy(drafted.config, home.configs)
    found = output_new.Drafting.of(drafted, deployed)
    output.emit(as_json, found, lambda: output_new.drafted(found, drafted, deployed is not None and deployed[1]))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(new)
