"""The command `new`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from trueup.cli import output
from trueup.cli.options import Json, at_home, moment
from trueup.cli.output import new_text
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
    list[str] | None, typer.Option(help="A column that identifies a row; may be repeated. Default: detected.")
]
After = Annotated[
    str | None,
    typer.Option(metavar="SPAN", help="How long an outcome takes, such as '30 days'. Default: guessed, and marked."),
]
Labels = Annotated[
    str | None,
    typer.Option(
        metavar="DATA",
        help="The outcomes, if not beside the rows: a second file or address, or a database (with --labels-query).",
    ),
]
LabelsQuery = Annotated[
    str | None, typer.Option(metavar="QUERY", help="SQL over the database of --labels, or over its table `files`.")
]
Query = Annotated[str | None, typer.Option(help="SQL over the database, or over the table `files`.")]
TaskName = Annotated[
    Literal["binary", "multiclass", "regression"] | None, typer.Option(help="Default: by the outcome's values.")
]
Positive = Annotated[str | None, typer.Option(help="The outcome that counts as 1, if there are two.")]
Above = Annotated[float | None, typer.Option(help="An outcome above this counts as 1, all others as 0.")]
Zone = Annotated[str, typer.Option(help="The model's time zone; times without one are in it.")]
Period = Annotated[
    Literal["day", "week", "month"] | None, typer.Option(help="Period of a batch. Default: by the rows.")
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Use earlier rows only, so that a replay of the later ones is not too optimistic."
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
    labels_query: LabelsQuery = None,
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
    """Read a table and write a config for a model of it, with every guess marked.

    Writes configs/<NAME>.yaml, and the model's deployments at the end of a prefect.yaml beside the configs. Columns
    that leak the outcome are left out and listed. Beside the config are <NAME>.usual.yaml, with bounds to copy, and the
    schema for editors, in configs/.schema. No other file is written, and no model is kept.
    """
    from trueup.domain.profiling.questions import Ask
    from trueup.onboarding.deployments import deploy
    from trueup.onboarding.new_model import draft, save, span_of

    ask = Ask(
        name, data, time, label, tuple(key or ()), span_of(label_available_after) if label_available_after else None,
        query, labels, labels_query, Task(task) if task else None, positive, above, timezone, period, moment(until),
    )  # fmt: skip
    with at_home() as home:
        drafted = draft(ask, home, force)
        save(drafted, force)
        deployed = deploy(drafted.config, home.configs)
    drafting = new_text.Drafting.of(drafted, deployed)
    output.emit(as_json, drafting, lambda: new_text.drafted(drafting, drafted, deployed is not None and deployed[1]))


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(new)
