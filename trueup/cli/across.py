"""The commands `send` and `receive`: models that move between environments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.cli.options import AsOf, Json, ModelName, at_home, moment
from trueup.cli.output import across_text
from trueup.config.load import load_model
from trueup.config.settings import Settings


def send_(
    model: ModelName,
    to: Annotated[
        Path,
        typer.Option(metavar="FILE", help="The bundle's file; an older bundle there is replaced.", show_default=False),
    ],
    version: Annotated[
        int | None,
        typer.Argument(help="A version that was promoted here; default: the champion.", show_default=False, min=1),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a version as a signed bundle for another environment, which judges it again with `trueup receive`.

    The bundle has the registered files, a sample of the training rows and the ledger entry about the version.
    """
    from trueup.across.send import send
    from trueup.model import Model

    with at_home() as home:
        done = send(Model(load_model(home.configs, model), home), version, to)
    output.emit(as_json, done, lambda: across_text.sent(done))


def receive_(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A file that `trueup send` wrote.", show_default=False)
    ],
    model: Annotated[
        str | None,
        typer.Option(help="Receive nothing unless it is about this model.", show_default=False, autocompletion=models),
    ] = None,
    as_of: AsOf = None,
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who requests it; default: the account. Recorded in the ledger.")
    ] = None,
    receipt: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The receipt's file; default: <BUNDLE>.receipt.json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a model from another environment on the rows here, promote, hold or reject it, and write a receipt.

    The bundle must be signed with a key in TRUEUP_SENDERS, and the config must have `promote.across: bundle`.
    """
    from trueup.across.receive import opened_parcel, receive
    from trueup.loop.retrying import Retrying
    from trueup.orchestration.context import opened, sound_config

    settings = Settings()
    parcel = opened_parcel(bundle, settings, model)
    sound_config(settings.configs, parcel.manifest.model)
    target = receipt or bundle.with_name(f"{bundle.name}.receipt.json")
    with opened(parcel.manifest.model, moment(as_of), by=by or "") as o:
        done = receive(Retrying(), o.model, bundle, parcel, o.as_of, target)
    output.emit(as_json, done, lambda: across_text.received(done))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    app.command(name="send")(send_)
    app.command(name="receive")(receive_)
