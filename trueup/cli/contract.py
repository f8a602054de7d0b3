"""The commands of `trueup contract`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.options import Json, ModelName, at_home
from trueup.cli.output import contract_text
from trueup.errors import UsageError

app = typer.Typer(help="Data contracts of the Open Data Contract Standard.", no_args_is_help=True)


@app.command()
def write(
    model: ModelName,
    out: Annotated[Path | None, typer.Option(help="The file to write. Default: print the contract.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Write the contract of a model's rows: columns, types, key, quality rules and service levels.

    It has what the config says and what landed batches have shown.
    """
    from trueup import files
    from trueup.model import Model
    from trueup.onboarding.contract import write_contract
    from trueup.orchestration.context import sound_config

    if out is not None and out.exists() and not force:
        raise UsageError(f"{out} exists; name another file, or overwrite it with --force")
    with at_home(looks=True) as home:
        text = write_contract(Model(sound_config(home.configs, model), home))
    if out is None:
        typer.echo(text, nl=False)
        return
    files.write_text(out, text)
    typer.echo(out)


@app.command()
def check(
    model: ModelName,
    file: Annotated[Path, typer.Argument(help="The contract.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Compare a contract with a model's config, its source and its newest landed batch; exit code 1 for differences."""
    from trueup.model import Model
    from trueup.onboarding.contract import compare
    from trueup.orchestration.context import sound_config

    with at_home(looks=True) as home:
        compared = compare(Model(sound_config(home.configs, model), home), file)
    output.emit(as_json, compared, lambda: contract_text.compared(compared))
    if compared.findings:
        raise typer.Exit(1)
