"""`trueup ui`: the live page of this home."""

from __future__ import annotations

from typing import Annotated

import typer

from trueup.config.settings import Settings


def ui(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. One that other machines reach needs TRUEUP_REPORTS_TOKEN."),
    ] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(help="Port to listen on; default: TRUEUP_UI_PORT, 8300.", min=1, max=65535)
    ] = None,
) -> None:
    """Show all models on one live page: state, performance, drift, decisions and what waits for a person.

    It reads the ledger and the store, and changes nothing. Runs in the foreground until Ctrl-C; `trueup up` starts it, too.
    """
    from trueup.ui.server import require_guarded, run

    settings = Settings()
    chosen = settings.ui_port if port is None else port
    require_guarded(settings, host)
    typer.echo(f"http://{host}:{chosen}", err=True)
    run(settings, host, chosen)
