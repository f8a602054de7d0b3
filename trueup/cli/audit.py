"""The commands `reproduce`, `dossier`, `explain` and `audit`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.cli.options import Json, ModelName, at_home, moment
from trueup.cli.output import audit_text, explain_text, record_text
from trueup.config.environments import VARIABLE
from trueup.config.load import load_model
from trueup.config.project import project_root
from trueup.files import write_text


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
        result = reproduce(model, version, home)
        note_rebuilt(home, result.model, result.version, result.message)
    output.emit(as_json, {**output.plain(result), "same": result.same}, lambda: record_text.reproduced(result))
    if not result.same:
        raise typer.Exit(1)


def dossier(
    model: ModelName,
    version: Annotated[
        int | None, typer.Argument(help="A registered version; default: the champion.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Output folder; default: reports/dossiers in the home.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write all evidence about a version as a page that opens offline, and as JSON, with the bill of materials."""
    from trueup.audit.dossier import make
    from trueup.model import Model

    with at_home() as home:
        made = make(Model(load_model(home.configs, model), home), version, out)
    output.emit(as_json, made, lambda: record_text.dossier(made))


def explain_(
    model: ModelName,
    key: Annotated[
        str,
        typer.Argument(
            metavar="KEY",
            help="Values of the key's columns: COLUMN=VALUE,COLUMN=VALUE, or the values alone in the order of `ingest.key`, or row_id=NUMBER.",
            show_default=False,
        ),
    ],
    batch: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="A moment of the row's batch, such as 2013-04-01, for a key in several."),
    ] = None,
    version: Annotated[
        int | None, typer.Option(help="A version that a decision names. Default: the one that served the row.", min=1)
    ] = None,
    personal: Annotated[
        bool, typer.Option("--personal", help="Also show the values of columns with personal data.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Explain one prediction: the row, the served prediction, its features and what each contributed, and rows like it.

    Changes nothing. A key of several rows, and of none, is an error that names the nearest ones.
    """
    from trueup.explain.explain import explain
    from trueup.model import Model

    at = moment(batch)
    with at_home(looks=True) as home:
        done = explain(Model(load_model(home.configs, model), home), key, at, version, personal)
    output.emit(as_json, done, lambda: explain_text.explained(done))


def audit_(
    markdown: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the result as Markdown, its title first, for an issue."),
    ] = None,
    advisories: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A service that speaks OSV's API. Default: the one of pip-audit."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check ledger and files, known holes and the lock, approvals, and whether each model is still retrained.

    Lists all findings with their next steps, and what could not be checked. Exit code 0 without a finding, else 1.
    """
    from trueup.audit.nightly import audit, in_markdown

    with at_home(looks=True) as home:
        done = audit(home, project_root(), advisories)
    if markdown is not None:
        write_text(markdown, in_markdown(done, os.environ.get(VARIABLE, "")))
    output.emit(as_json, done, lambda: audit_text.audited(done))
    if done.findings:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="reproduce")(reproduce_)
    app.command()(dossier)
    app.command(name="explain")(explain_)
    app.command(name="audit")(audit_)
