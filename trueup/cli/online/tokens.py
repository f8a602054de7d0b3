"""Commands for the tokens of `trueup serve`: token add, list, revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

from trueup.cli import output
from trueup.cli.options import Json
from trueup.config.durations import parse_duration
from trueup.config.settings import Settings
from trueup.errors import UsageError
from trueup.serving import tokens
from trueup.serving.settings import tokens_file

token_app = typer.Typer(help="Tokens that let clients ask `trueup serve`.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Whose token it is, such as `shop` or `grafana`.", show_default=False)]


@token_app.command()
def add(
    name: Name,
    scope: Annotated[
        Literal["predict", "record", "admin"],
        typer.Option(
            help="`predict` only asks; predictions of `record` count as those of their rows, for monitoring and retraining; `admin` also sees the figures of a rollout."
        ),
    ] = "predict",
    rate: Annotated[
        float | None, typer.Option(help="Requests a second at most. Default: no limit.", show_default=False)
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="SPAN", help="Validity, such as '90 days'. Default: until revoked.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a token and show it once: only its digest is kept. Running servers accept it within a second."""
    until = None if expires is None else _end(expires)
    token = tokens.add(_file(), name, scope, rate=rate, expires=until)

    def show() -> None:
        typer.echo(token)
        limit = "" if rate is None else f", at most {rate:g} requests a second"
        ends = "" if until is None else f", until {until:%Y-%m-%d %H:%M} UTC"
        output.err.print(
            f"the token {escape(name)} has the scope {scope}{limit}{ends}; it is shown only now, so keep it safe",
            highlight=False,
        )

    output.emit(as_json, {"name": name, "scope": scope, "token": token}, show)


@token_app.command("list")
def list_(as_json: Json = False) -> None:
    """List the tokens by name, without the tokens themselves."""
    known = tokens.listed(_file())
    rows = [
        {"name": t.name, "scope": t.scope, "rate": t.rate, "created": t.created, "expires": t.expires} for t in known
    ]

    def show() -> None:
        if not rows:
            typer.echo("no tokens; next: trueup token add NAME")
            return
        shown = output.table(
            ["name", "scope", "rate", "created", "expires"],
            [
                [escape(t.name), t.scope, f"{t.rate:g} a second" if t.rate else "", t.created, t.expires or ""]
                for t in known
            ],
        )
        output.out.print(shown)

    output.emit(as_json, {"tokens": rows}, show)


@token_app.command()
def revoke(name: Name, as_json: Json = False) -> None:
    """Remove a token: running servers refuse it within a second."""
    gone = tokens.revoke(_file(), name)
    output.emit(as_json, {"revoked": gone.name}, lambda: typer.echo(f"{gone.name} may not ask any more"))


def _file() -> Path:
    return tokens_file(Settings().root)


def _end(span: str) -> datetime:
    """The moment at which a span from now ends. Raises UsageError."""
    try:
        length = parse_duration(span)
    except ValueError as error:
        raise UsageError(f"--expires: {error}") from None
    if length <= timedelta(0):
        raise UsageError(f"--expires: {span} is over already; write a span such as '90 days'")
    return datetime.now(UTC) + length
