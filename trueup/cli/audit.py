"""The command `reproduce`."""

from __future__ import annotations

from typing import Annotated

import typer

from trueup.cli import output, output_records
from trueup.cli.completion import models
from trueup.cli.options import Json, at_home


def reproduce_(
    model: Annotated[str, typer.Argument(help="Name of a model.", show_default=False, autocompletion=models)],
    version: Annotated[int, typer.Argument(help="A version that a decision names.", show_default=False, min=1)],
    as_json: Json = False,
) -> None:
    """Make a version again from its recorded data, config, recipe and seed, and list all differences.

    Changes nothing in ledger, registry or store, except a note for the version's dossier. Exit code 0 if everything
    agrees, 1 if not.
    """
    from trueup.audit.rebuild_notes import note_rebuilt
    from trueup.audit.reproduce import reproduce

    with at_home() as home:
        found = reproduce(model, version, home)
        note_rebuilt(home, found.model, found.version, found.said)
    output.emit(as_json, {**output.plain(found), "same": found.same}, lambda: output_records.reproduced(found))
    if not found.same:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="reproduce")(reproduce_)
