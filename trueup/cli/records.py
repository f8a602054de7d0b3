"""Commands that read the ledger and the quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.cli.options import Json, ModelName, at_home
from trueup.cli.output import across_text, record_text
from trueup.config.load import load_model, model_names, sound_name

ledger_app = typer.Typer(help="The record of every decision.", no_args_is_help=True)
quarantine_app = typer.Typer(help="Rows set aside because they failed validation.", no_args_is_help=True)


@ledger_app.command("show")
def ledger_show(
    model: Annotated[
        str | None, typer.Argument(help="A model; default: all.", show_default=False, autocompletion=models)
    ] = None,
    last: Annotated[int, typer.Option(help="How many entries, newest first.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Show the newest decisions, with their reasons."""
    from trueup.governance.status import decisions

    with at_home(looks=True) as home:
        entries = decisions(home, model and sound_name(model), last)
        if model is not None and not entries:
            load_model(home.configs, model)  # a model without a config still has its decisions
    output.emit(as_json, {"entries": entries}, lambda: record_text.ledger(entries))


@ledger_app.command("verify")
def ledger_verify(
    bundle: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Also check a bundle (folder or .zip) against this home; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check chain, signatures, anchors, MLflow's aliases and the files of every version that an entry names."""
    from trueup.audit.verify import verify

    with at_home(looks=True) as home:
        configs = {name: load_model(home.configs, name) for name in model_names(home.configs)}
        result = verify(configs, home, bundle or ())
    output.emit(as_json, result, lambda: record_text.verified(result))
    if not result.right:
        raise typer.Exit(1)


@ledger_app.command("export")
def ledger_export(
    file: Annotated[Path, typer.Argument(help="Output file: .jsonl has everything, .csv one line per decision.")],
    model: Annotated[
        str | None, typer.Option(help="A model; default: all.", show_default=False, autocompletion=models)
    ] = None,
) -> None:
    """Write the ledger to a file, oldest entry first."""
    from trueup.audit.export import export

    with at_home(looks=True) as home:
        count = export(home, file, model)
    typer.echo(f"{count} entries in {file}")


@ledger_app.command("key")
def ledger_key(as_json: Json = False) -> None:
    """Show the public key that this home signs with, for TRUEUP_SENDERS and TRUEUP_RECEIVERS of another."""
    with at_home() as home:
        key = {"key_id": home.signer.key_id, "public": home.signer.public}
    output.emit(as_json, key, lambda: typer.echo(key["public"]))


@ledger_app.command("receipt")
def ledger_receipt(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A receipt that `trueup receive` wrote.", show_default=False)
    ],
    as_json: Json = False,
) -> None:
    """Record what another environment decided about a model that this one sent.

    The receipt must be signed with a key in TRUEUP_RECEIVERS.
    """
    from trueup.across.receipt import record_receipt

    with at_home() as home:
        done = record_receipt(home, file)
    output.emit(as_json, done, lambda: across_text.acknowledged(done))


@quarantine_app.command("list")
def quarantine_list(model: ModelName, as_json: Json = False) -> None:
    """List the rows in quarantine by batch, with the failed expectations."""
    from trueup.governance.quarantine import as_records, listed
    from trueup.model import Model

    with at_home(looks=True) as home:
        rows = as_records(listed(Model(load_model(home.configs, model), home)))
    output.emit(as_json, {"rows": rows}, lambda: record_text.quarantine(rows))


@quarantine_app.command("release")
def quarantine_release(
    model: ModelName,
    by: Annotated[str, typer.Option(help="Who releases them.", show_default=False)],
    why: Annotated[str, typer.Option(help="Why they are right.", show_default=False)],
    rows: Annotated[list[int] | None, typer.Option("--row", help="A row_id; may be repeated. Default: all.")] = None,
    as_json: Json = False,
) -> None:
    """Release rows: the next training uses them, and the next `trueup run` predicts them."""
    from trueup.governance.quarantine import release
    from trueup.model import Model

    with at_home() as home:
        count = release(Model(load_model(home.configs, model), home), rows, by=by, why=why)
    output.emit(as_json, {"released": count}, lambda: typer.echo(f"{count} rows released"))
