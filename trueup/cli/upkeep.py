"""Commands for the home itself: gc, forget, backup, restore, move."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.cli.options import Json, ModelName, at_home
from trueup.cli.output import upkeep_text
from trueup.config.load import load_model, model_names
from trueup.config.settings import Settings
from trueup.errors import UsageError

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
    output.emit(as_json, result, lambda: upkeep_text.cleared(result))
    if result.problems:
        raise typer.Exit(1)


def forget_(
    model: ModelName,
    key: Annotated[
        list[str],
        typer.Option(
            "--key", metavar="COLUMN=VALUE", help="A column of `ingest.key`; once for each.", show_default=False
        ),
    ],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who decides; recorded in the ledger.", show_default=False)],
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; recorded in the ledger.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Erase what servers logged about one key: its records in the prediction log, and its served features.

    The ledger records how much was erased, by whom and why, without the key: do not name it in the reason. Landed
    batches are not touched.
    """
    from trueup.model import Model
    from trueup.upkeep.forget import forget

    with at_home() as home:
        done = forget(Model(load_model(home.configs, model), home), _pairs(key), by, why)
    output.emit(as_json, done, lambda: upkeep_text.forgotten(done))


def _pairs(key: Sequence[str]) -> dict[str, str]:
    """The values of a key by column. Raises UsageError."""
    pairs = [text.partition("=") for text in key]
    if wrong := next(
        (text for text, (column, equals, _) in zip(key, pairs, strict=True) if not (column and equals)), None
    ):
        raise UsageError(f"--key {wrong}: is no COLUMN=VALUE; write it as --key customer=1017")
    return {column: value for column, _, value in pairs}


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


def move_(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="The new home: a folder that does not exist yet, or an address without files, such as s3://bucket/prefix.",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="URL of an empty PostgreSQL database for ledger and state; default: SQLite in the new home.",
            envvar="TRUEUP_MOVE_DATABASE_URL",
            show_default=False,
        ),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(
            help="URL of an empty PostgreSQL database for MLflow; default: SQLite in the new home.",
            envvar="TRUEUP_MOVE_MLFLOW_URI",
            show_default=False,
        ),
    ] = None,
    reopen: Annotated[
        bool, typer.Option("--reopen", help="Open this home again, after a move that was interrupted or is not wanted.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Move the home to another place: copy it, verify the copy, and close this one for writing. Nothing is deleted.

    Stop all workers and servers first. A move that was interrupted can be repeated. A URL with a password belongs into
    TRUEUP_MOVE_DATABASE_URL or TRUEUP_MOVE_MLFLOW_URI, because others see the words of a command.
    """
    from trueup.upkeep import move

    if (to is None) != reopen:
        raise UsageError("name the new home with --to, or open this one again with --reopen")
    with at_home() as home:
        if to is None:
            opened = move.reopen(home)
            output.emit(as_json, {"reopened": opened}, lambda: upkeep_text.reopened(home.root, opened))
            return
        configs = {name: load_model(home.configs, name) for name in model_names(home.configs)}
        done = move.move(home, configs, to, database, mlflow)
    output.emit(as_json, done, lambda: upkeep_text.moved(done))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command()(gc)
    app.command(name="forget")(forget_)
    app.command(name="backup")(backup_)
    app.command()(restore)
    app.command(name="move")(move_)


def _emit(as_json: bool, saved: Saved) -> None:
    output.emit(as_json, saved, lambda: upkeep_text.saved(saved))
