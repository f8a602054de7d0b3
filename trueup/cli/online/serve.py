"""`trueup serve`: becomes the server process, which loads nothing of what trains."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from trueup.errors import ConfigError, UsageError
from trueup.serving.published import folder_of
from trueup.serving.settings import (
    CONNECTIONS,
    MOST_CONNECTIONS,
    PORT,
    Places,
    ServerSettings,
    places_of,
    require_sound,
)
from trueup.serving.start import become, published
from trueup.serving.state import STATE_FILE


def _models(incomplete: str) -> list[str]:
    from trueup.cli.completion import models

    return models(incomplete)


def serve(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            help="Models; default: all with the section `serve`.", show_default=False, autocompletion=_models
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. One that other machines reach needs tokens: `trueup token add`.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=0, max=65535)] = PORT,
    workers: Annotated[int, typer.Option(help="Processes that answer.", min=1, max=64)] = 1,
    connections: Annotated[
        int,
        typer.Option(
            help="Open connections of each worker; further ones get 503 and Retry-After.", min=1, max=MOST_CONNECTIONS
        ),
    ] = CONNECTIONS,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain in PEM, for HTTPS.", show_default=False)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Private key of the certificate in PEM.", show_default=False)
    ] = None,
) -> None:
    """Answer with the champion over HTTP, and follow the ledger: a new champion answers a moment after it is published.

    Runs in the foreground until Ctrl-C or SIGTERM; requests that were accepted are answered first.
    """
    places = places_of(os.environ)
    chosen = ServerSettings(
        home=places.home,
        configs=places.configs,
        database=places.database,
        models=_chosen(places, list(dict.fromkeys(model or []))),
        host=host,
        port=port,
        workers=workers,
        connections=connections,
        tls_cert=tls_cert,
        tls_key=tls_key,
    )
    require_sound(chosen)
    become(chosen)


def _chosen(places: Places, named: list[str]) -> tuple[str, ...]:
    """The models to serve. Raises UsageError for one whose config lets nobody serve it, and for none."""
    for name in named:
        if not published(places, name):
            _require_section(places, name)
    if chosen := named or _all_served(places):
        return tuple(chosen)
    raise UsageError(
        f"no config in {places.configs} has the section `serve`; add `serve: {{}}` to that of a model, and run it"
    )


def _require_section(places: Places, name: str) -> None:
    from trueup.config.load import load_model
    from trueup.config.settings import Settings

    Settings()  # raises ConfigError with all mistakes of the environment
    if load_model(places.configs, name).serve is None:
        raise UsageError(f"{name}: the config has no section `serve`; add `serve: {{}}`, and run `trueup run {name}`")


def _all_served(places: Places) -> list[str]:
    from trueup.config.load import model_names

    return [name for name in model_names(places.configs) if published(places, name) or _serves(places, name)]


def _serves(places: Places, name: str) -> bool:
    """Whether a model is served when none is named: also with a config that is wrong just now, if it was published."""
    from trueup.config.load import load_model

    try:
        return load_model(places.configs, name).serve is not None
    except ConfigError as error:
        if not (folder_of(places.home, name) / STATE_FILE).exists():
            return False
        typer.echo(f"{error}\n{name} is served as it was published last", err=True)
        return True


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="serve")(serve)
