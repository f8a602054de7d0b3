"""The commands for edge devices: `export`, `export-trust` and `ingest-predictions`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.options import Json, ModelName, at_home, moment
from trueup.cli.output import export_text
from trueup.config.durations import parse_duration
from trueup.config.load import load_model
from trueup.errors import UsageError


def export_(
    model: ModelName,
    to: Annotated[
        Path,
        typer.Option(
            metavar="FOLDER", help="The bundle's folder; an older bundle there is replaced.", show_default=False
        ),
    ],
    version: Annotated[
        int | None, typer.Argument(help="A version in the ledger; default: the champion.", show_default=False, min=1)
    ] = None,
    zipped: Annotated[
        bool, typer.Option("--zip", help="Also write it as <FOLDER>.zip, the same to the byte each time.")
    ] = False,
    expires: Annotated[
        str, typer.Option(metavar="SPAN", help="A device refuses the bundle after this time.")
    ] = "180 days",
    issued: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="The moment of issue in UTC; default: now. The same one makes the same bytes."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a version as a bundle that predicts without Trueup and scikit-learn, signed with the ledger's key.

    The ONNX form is compared with the version before anything is written. `docs/how-to/edge.md` describes bundles.
    """
    from trueup.export.bundle import export
    from trueup.model import Model

    span, begun = _span(expires), _utc(issued)
    with at_home() as home:
        done = export(
            Model(load_model(home.configs, model), home), version, to, zipped=zipped, expires=span, issued=begun
        )
    output.emit(as_json, done, lambda: export_text.exported(done))


def export_trust(
    model: ModelName,
    to: Annotated[Path, typer.Option(metavar="FILE", help="Output file.", show_default=False)],
    also: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY", help="Another public key (hex or base64) to believe; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the trust anchor of a model: the public keys that an edge device believes, signed with the present key.

    Install it on a device apart from every bundle. To change the key, first hand out an anchor with --also, then set
    TRUEUP_LEDGER_KEY to the new key.
    """
    from trueup.export.trust import write_anchor

    with at_home() as home:
        load_model(home.configs, model)
        written = write_anchor(home, model, to, also or ())
    output.emit(as_json, written, lambda: export_text.anchored(written))


def ingest_predictions_(
    model: ModelName,
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Spool files of devices.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Store the predictions that devices made, so that the monitor compares them with the outcomes.

    They are joined to the rows by key and time. A row's first prediction counts, wherever it was made, and a file may be
    ingested again. Run it before the batch is scored.
    """
    from trueup.export.handed_back import ingest_predictions
    from trueup.model import Model

    with at_home() as home:
        done = ingest_predictions(Model(load_model(home.configs, model), home), files)
    output.emit(as_json, done, lambda: export_text.handed_back(done))


def _span(text: str) -> timedelta:
    """Parse a positive span of time. Raises UsageError."""
    try:
        span = parse_duration(text)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    if span <= timedelta(0):
        raise UsageError(
            f"--expires: {text!r} has passed at the moment of issue; write a longer span, such as '180 days'"
        )
    return span


def _utc(text: str | None) -> datetime | None:
    """Parse a moment, in UTC unless it has an offset. Raises UsageError."""
    parsed = moment(text)
    return parsed if parsed is None or parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="export")(export_)
    app.command(name="export-trust")(export_trust)
    app.command(name="ingest-predictions")(ingest_predictions_)
