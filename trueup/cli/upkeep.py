"""Commands for the home itself: gc, backup, restore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.cli.options import Json, at_home
from trueup.config.load import load_model
from trueup.config.settings import Settings

if TYPE_CHECKING:
    from trueup.upkeep.backup import Saved


def gc(
    model: Annotated[
        str | None,
        typer.Argument(
            help="A model; default: all models and shared files.", show_default=False, autocompletion=models
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove reports, snapshots and predictions that are older than the config's `retention`."""
    if model is not None:
        load_model(Settings().configs, model)
    from trueup.upkeep.retention import clear_out

    result = clear_out([model] if model else None, dry_run)
    output.emit(as_json, result, lambda: output.cleared(result))
    if result.problems:
        raise typer.Exit(1)


def backup_(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Copy the home, consistently, while everything runs: SQLite databases, batches, models, reports."""
    from trueup.upkeep import backup

    with at_home() as home:
        _emit(as_json, backup.backup(home, target))


def restore(
    source: Annotated[Path, typer.Argument(help="A folder from `trueup backup`.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Restore a home from a backup; it must not exist yet, or be empty, and may be at another place.

    If TRUEUP_DATABASE_URL or TRUEUP_MLFLOW_BACKEND name an empty PostgreSQL database, the backup's databases are loaded
    into it.
    """
    from trueup.upkeep import backup

    _emit(as_json, backup.restore(Settings(), source))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(gc)
    app.command(name="backup")(backup_)
    app.command()(restore)


def _emit(as_json: bool, saved: Saved) -> None:
    output.emit(as_json, saved, lambda: output.saved(saved))
