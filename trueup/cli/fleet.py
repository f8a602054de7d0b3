"""`trueup run --all`: one turn of the loop for each model."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.edge import unexpected
from trueup.cli.output import fleet_text
from trueup.domain.types import Retrain
from trueup.errors import UsageError
from trueup.orchestration import start
from trueup.orchestration.environment import server_address

Every = Annotated[bool, typer.Option("--all", help="Run every model, the most urgent first.")]
Workers = Annotated[
    int | None,
    typer.Option(min=1, max=64, help="With --all: this many processes, each with one model at a time.  [default: 1]"),
]


def run_all(
    model: str | None,
    tags: Sequence[str],
    workers: int | None,
    as_of: datetime | None,
    retrain: Retrain,
    as_json: bool,
) -> None:
    """Run the fleet, and end with the exit code of its worst model. Raises UsageError."""
    if model is not None:
        raise UsageError(f"name a model or use --all, not both: `trueup run {model}` or `trueup run --all`")
    from trueup.orchestration.fleet.one_model import Orders

    with fleet_text.progress() as shown:
        done = start.run_all(Orders(as_of, retrain), tags, workers or 1, shown, unexpected)
    if server_address() is None:
        typer.echo(start.WITHOUT_SERVER, err=True)
    output.emit(as_json, done, lambda: fleet_text.summary(done))
    if done.exit_code:
        raise typer.Exit(done.exit_code)
