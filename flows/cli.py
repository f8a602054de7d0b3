"""The command line: a skin over the flows and the stages. Results on stdout, progress and logs on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from flows import show
from flows.environment import by_hand, prepare
from trueup.config.load import load_model, model_names
from trueup.config.settings import Settings
from trueup.errors import TrueupError, UsageError

if TYPE_CHECKING:
    from trueup.stages.ports import Ports

app = typer.Typer(
    help="Continuous training for tabular models: check, score, watch, retrain, judge, promote, and prove it.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
ledger_app = typer.Typer(help="The record of every decision.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
quarantine_app = typer.Typer(help="Rows set aside because they failed validation.", no_args_is_help=True)
app.add_typer(quarantine_app, name="quarantine")

Model = Annotated[str, typer.Argument(help="Name of a config: configs/<MODEL>.yaml.", show_default=False)]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of", metavar="TIME", help="The moment to stand at, such as 2013-04-01. Default: by the config's clock."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")]
Retrain = Literal["inline", "event", "never"]


@app.command()
def run(
    model: Model,
    as_of: AsOf = None,
    retrain: Annotated[Retrain, typer.Option(help="What to do when the diagnosis asks for a retrain.")] = "inline",
    as_json: Json = False,
) -> None:
    """One turn of the loop: ingest, validate, score, monitor, and retrain if the diagnosis says so."""
    known(model)
    from flows.run import run as flow

    with by_hand():
        cycle = flow(model, as_of=moment(as_of), retrain=retrain)
    emit(as_json, cycle, lambda: show.cycle(cycle))
    if cycle.broken:
        raise typer.Exit(1)


@app.command(name="retrain")
def retrain_(
    model: Model,
    as_of: AsOf = None,
    reason: Annotated[
        Literal["manual", "decayed", "stale", "schedule"], typer.Option(help="Why; it stands in the ledger.")
    ] = "manual",
    as_json: Json = False,
) -> None:
    """Train a challenger, judge it against the champion, and promote or refuse it."""
    known(model)
    from flows.retrain import retrain as flow

    with by_hand():
        decided = flow(model, as_of=moment(as_of), reason=reason)
    emit(as_json, decided, lambda: show.decision(decided))


@app.command()
def score(model: Model, as_of: AsOf = None, as_json: Json = False) -> None:
    """Predict the newest complete batch with the champion."""
    known(model)
    from flows.score import score as flow

    with by_hand():
        scored = flow(model, as_of=moment(as_of))
    emit(as_json, scored, lambda: show.scored(scored))


@app.command()
def monitor(model: Model, as_of: AsOf = None, as_json: Json = False) -> None:
    """Compare the newest batch's predictions with the labels known by now, and diagnose the champion."""
    known(model)
    from flows.monitor import monitor as flow

    with by_hand():
        observed = flow(model, as_of=moment(as_of))
    emit(as_json, observed, lambda: show.observation(observed))


@app.command()
def status(
    model: Annotated[str | None, typer.Argument(help="A model; default: all.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Champion, its age, the last diagnosis and the last decisions."""
    from trueup.stages.status import overview

    with home() as ports:
        found = [overview(load_model(ports.configs, name), ports) for name in names(ports, model)]
    emit(as_json, {"models": found}, lambda: show.status(found))


@app.command()
def check(
    model: Annotated[str | None, typer.Argument(help="A model; default: all.", show_default=False)] = None,
    as_json: Json = False,
) -> None:
    """Look at config and data source without changing anything; all problems at once."""
    from trueup.stages.check import check as look

    with home() as ports:
        found = [look(name, ports) for name in names(ports, model)]
    emit(as_json, {"models": found}, lambda: show.checks(found))
    if any(m["problems"] for m in found):
        raise typer.Exit(2)


@app.command()
def demo(
    to: Annotated[str, typer.Option(metavar="MONTH", help="The last month, up to 2013-12.")] = "2013-09",
    as_json: Json = False,
) -> None:
    """The closed loop on the real flights of 2013, month by month."""
    from flows.demo import demo as play

    with by_hand():
        result = play(month(to), quiet=as_json)
    emit(as_json, result, lambda: show.demo(result))


@ledger_app.command("show")
def ledger_show(
    model: Annotated[str | None, typer.Argument(help="A model; default: all.", show_default=False)] = None,
    last: Annotated[int, typer.Option(help="How many entries, newest first.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """The newest decisions, with their reasons."""
    from trueup.stages.status import decisions

    with home() as ports:
        found = decisions(ports, model, last)
        if model is not None and not found:
            load_model(ports.configs, model)  # a model whose config is gone still has its decisions
    emit(as_json, {"entries": found}, lambda: show.ledger(found))


@quarantine_app.command("list")
def quarantine_list(model: Model, as_json: Json = False) -> None:
    """Rows in quarantine, by batch, with the names of what they failed."""
    from trueup.stages.quarantine import as_records, listed

    with home() as ports:
        found = as_records(listed(load_model(ports.configs, model), ports))
    emit(as_json, {"rows": found}, lambda: show.quarantine(found))


@quarantine_app.command("release")
def quarantine_release(
    model: Model,
    by: Annotated[str, typer.Option(help="Who releases them.", show_default=False)],
    why: Annotated[str, typer.Option(help="Why they are right after all.", show_default=False)],
    rows: Annotated[
        list[int] | None, typer.Option("--row", help="A row_id; may be given several times. Default: all.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take rows back into use: the next training sees them, and the next `trueup run` predicts them."""
    from trueup.stages.quarantine import release

    with home() as ports:
        count = release(load_model(ports.configs, model), ports, rows, by=by, why=why)
    emit(as_json, {"released": count}, lambda: typer.echo(f"{count} rows released"))


def moment(text: str | None) -> datetime | None:
    """Read a time from the command line. Raises UsageError."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is not a time; write it as 2013-04-01 or 2013-04-01T06:00") from None


def known(model: str) -> None:
    """Look at the config before Prefect starts, which takes seconds. Raises UnknownModel, ConfigError."""
    load_model(Settings().configs, model)


def month(text: str) -> datetime:
    """Read a month from the command line. Raises UsageError."""
    try:
        return datetime.strptime(text, "%Y-%m")
    except ValueError:
        raise UsageError(f"{text!r} is not a month; write it as 2013-09") from None


@contextmanager
def home() -> Iterator[Ports]:
    """The home, for commands that need no flow."""
    from trueup.stages.ports import Ports

    ports = Ports()
    try:
        yield ports
    finally:
        ports.close()


def names(ports: Ports, model: str | None) -> list[str]:
    """The model named, or all that have a config. Raises UnknownModel, and UsageError where there is none."""
    if model is not None:
        return [model]
    if not (found := model_names(ports.configs)):
        raise UsageError(
            f"no configs in {ports.configs.resolve()}; change to the project's folder or set TRUEUP_CONFIGS"
        )
    return found


def emit(as_json: bool, result: Any, tell: Callable[[], None]) -> None:
    """Print a result: one line of JSON, or what a person reads."""
    if as_json:
        sys.stdout.write(json.dumps(show.plain(result), allow_nan=False) + "\n")
    else:
        tell()


def main() -> None:
    """Run the command line. Errors meant for people end with their exit code and no traceback."""
    prepare()
    try:
        app()
    except TrueupError as error:
        show.error(error)
        raise SystemExit(error.exit_code) from None
