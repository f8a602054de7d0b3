"""The command line over flows and stages. Results go to stdout, progress and logs to stderr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from trueup.cli import (
    across,
    audit,
    ci,
    completion,
    contract,
    export,
    fleet,
    govern,
    help_examples,
    new,
    output,
    project,
    records,
    replay,
    stack,
    upkeep,
)
from trueup.cli.completion import models
from trueup.cli.edge import one_line
from trueup.cli.online import rollout, serve, tokens, ui
from trueup.cli.options import AsOf, Json, ModelName, Tags, at_home, moment, month, names
from trueup.cli.output import demo_text, new_text, status_text, turn_text, upkeep_text
from trueup.config.load import load_model
from trueup.config.settings import Settings
from trueup.domain.types import Retrain
from trueup.errors import NoData, UsageError
from trueup.orchestration import start
from trueup.orchestration.environment import flows_called_here, prepare, server_address

if TYPE_CHECKING:
    from trueup.handoffs import Cycle
    from trueup.home import Home
    from trueup.onboarding.rehearse import Rehearsal

app = typer.Typer(
    help="Continuous training for tabular models: validate, score, monitor, retrain, judge and promote, with proof.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(records.ledger_app, name="ledger")
app.add_typer(records.quarantine_app, name="quarantine")
app.add_typer(tokens.token_app, name="token")
app.add_typer(rollout.app, name="rollout")
app.add_typer(contract.app, name="contract")
app.add_typer(stack.app)


@app.callback()
def everywhere(
    env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Act in environments/NAME.yaml of the project. Default: TRUEUP_ENV, or none."
        ),
    ] = None,
) -> None:
    """Continuous training for tabular models: validate, score, monitor, retrain, judge and promote, with proof."""


@app.command()
def run(
    model: Annotated[
        str | None,
        typer.Argument(help="Name of a config: configs/<MODEL>.yaml.", show_default=False, autocompletion=models),
    ] = None,
    every: fleet.Every = False,
    tag: Tags = None,
    workers: fleet.Workers = None,
    as_of: AsOf = None,
    retrain: Annotated[Retrain, typer.Option(help="What to do when the diagnosis asks for a retrain.")] = "inline",
    as_json: Json = False,
) -> None:
    """One turn of the loop: ingest, validate, score, monitor, and retrain if the diagnosis asks for it.

    With --all for each model, the most urgent first. One failing model stops no other; the exit code is then that of the
    worst failure.
    """
    if every:
        fleet.run_all(model, tag or [], workers, moment(as_of), retrain, as_json)
        return
    if model is None or tag or workers is not None:
        raise UsageError("name one model, or use --all for every model; --tag and --workers need --all")
    cycle = start.run(model, ready(model, as_of), retrain)
    emit_run(as_json, cycle, lambda: turn_text.cycle(cycle, next_complete(model, cycle)))
    if cycle.problem is not None:
        raise NoData(cycle.problem)
    if cycle.broken:
        raise typer.Exit(1)


@app.command(name="retrain")
def retrain_(
    model: ModelName,
    as_of: AsOf = None,
    reason: Annotated[
        Literal["manual", "decayed", "stale", "schedule"], typer.Option(help="The reason; recorded in the ledger.")
    ] = "manual",
    by: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who requests it; default: the account. Recorded in the ledger.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a challenger, judge it against the champion, and promote, hold or reject it."""
    decided = start.retrain(model, ready(model, as_of), reason, by)
    emit_run(as_json, decided, lambda: turn_text.retrained(model, decided))


@app.command()
def score(model: ModelName, as_of: AsOf = None, as_json: Json = False) -> None:
    """Predict the newest complete batch with the champion."""
    scored = start.score(model, ready(model, as_of))
    emit_run(as_json, scored, lambda: turn_text.scored(scored))


@app.command()
def monitor(model: ModelName, as_of: AsOf = None, as_json: Json = False) -> None:
    """Compare the newest batch's predictions with the labels known by now, and diagnose the champion."""
    observed = start.monitor(model, ready(model, as_of))
    emit_run(as_json, observed, lambda: turn_text.observation(observed))


@app.command()
def status(
    model: Annotated[
        str | None, typer.Argument(help="A model; default: all.", show_default=False, autocompletion=models)
    ] = None,
    tag: Tags = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Show which version served at this time, such as 2013-06-15, and why; by the model's clock.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the champion, its age, the last diagnosis, open approvals and the last decisions."""
    from trueup.governance.status import overview, standing_at
    from trueup.model import Model
    from trueup.orchestration.context import resolve_as_of

    then = moment(at)
    with at_home(looks=True) as home:
        chosen = [Model(load_model(home.configs, name), home) for name in names(home, model, tag)]
        states = [overview(m) for m in chosen] if then is None else []
        past = [] if then is None else [standing_at(m, resolve_as_of(m, then)) for m in chosen]
    output.emit(
        as_json,
        {"models": [*states, *past]},
        lambda: status_text.status(states) if then is None else status_text.standing(past),
    )


@app.command()
def clear(
    model: ModelName,
    by: Annotated[str, typer.Option(help="Who decides.", show_default=False)],
    as_json: Json = False,
) -> None:
    """Let retrains start again after too many rejections in a row, and confirm unusual batches."""
    from trueup.loop import may_start
    from trueup.model import Model

    with at_home() as home:
        entries = may_start.clear(Model(load_model(home.configs, model), home), by)
    reasons = [entry.body.reasons[0] for entry in entries]
    result = {"sequence": entries[-1].seq, "reasons": reasons}
    lines = "\n".join(f"{why} (ledger entry {entry.seq})" for why, entry in zip(reasons, entries, strict=True))
    output.emit(as_json, result, lambda: typer.echo(lines))


@app.command(name="check")
def check_(
    model: Annotated[
        str | None, typer.Argument(help="A model; default: all.", show_default=False, autocompletion=models)
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse",
            help="If there are no problems, also try all batches, and report what a run would do with them.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Check config and data source without changing anything; report all problems at once.

    A rehearsal validates all batches, counts labels, lets a quick model try to beat the prior and estimates the run
    time. Exit code 2 for problems in a config, 1 if the data would break a run.
    """
    from trueup.onboarding.check import check

    with at_home(looks=True) as home:
        checks = [check(name, home) for name in names(home, model)]
        if rehearse:
            checks = [c if c.problems else replace(c, rehearsal=rehearsed(c.model, home)) for c in checks]
    output.emit(as_json, {"models": checks}, lambda: new_text.checks(checks))
    if any(c.problems for c in checks):
        raise typer.Exit(2)
    if any(c.rehearsal is not None and c.rehearsal.breaks for c in checks):
        raise typer.Exit(1)


@app.command()
def feed(
    model: ModelName,
    give: Annotated[
        bool, typer.Option("--next", help="Release the next batch; without it, only show the progress.")
    ] = False,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FOLDER", help="Folder of the original config.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Release old data batch by batch into the home, as a live source would, and announce each arrival."""
    from trueup.model import Model
    from trueup.orchestration.hooks import pass_on
    from trueup.upkeep.simulate_arrivals import fed, feed_next

    with at_home(source) as home:
        done = (feed_next if give else fed)(Model(load_model(home.configs, model), home))
        pass_on(home)
    output.emit(as_json, done, lambda: upkeep_text.fed(done))


@app.command(name="demo")
def demo_(
    to: Annotated[str, typer.Option(metavar="MONTH", help="The last month, up to 2013-12.")] = "2013-09",
    as_json: Json = False,
) -> None:
    """Run the loop on the real flights of 2013, month by month."""
    last = month(to)
    with flows_called_here():
        from trueup.cli.demo import demo

        result = demo(last, quiet=as_json)
    output.emit(as_json, result, lambda: demo_text.demo(result))


@app.command()
def reconcile(
    model: Annotated[
        str | None, typer.Argument(help="A model; default: all.", show_default=False, autocompletion=models)
    ] = None,
    as_json: Json = False,
) -> None:
    """Repair what crashes leave behind: undelivered events, MLflow's aliases and open runs, Prefect's dead runs."""
    if model is not None:
        require_config(model)
    from trueup.orchestration.recovery.reconcile_home import reconcile_home

    result = reconcile_home([model] if model else None)
    output.emit(as_json, result, lambda: upkeep_text.reconciled(result))
    if result.problems:
        raise typer.Exit(1)


def next_complete(model: str, cycle: Cycle) -> datetime:
    """When the next batch is complete."""
    from trueup.domain.data.periods import period_of

    newest = max((c.batch.window.end for c in cycle.batches), default=cycle.as_of)
    return period_of(newest, load_model(Settings().configs, model).ingest.period).end


def ready(model: str, as_of: str | None) -> datetime | None:
    """Check the arguments of a command before anything starts. Raises UsageError."""
    require_config(model)
    return moment(as_of)


def require_config(model: str) -> None:
    """Check the config before anything starts. Raises UnknownModel, ConfigError."""
    from trueup.orchestration.context import sound_config

    sound_config(Settings().configs, model)


def rehearsed(model: str, home: Home) -> Rehearsal:
    """Rehearse a model with a valid config, and show the progress."""
    from trueup.model import Model
    from trueup.onboarding.rehearse import rehearse

    with output.progress(f"rehearsing {model}") as on_progress:
        return rehearse(Model(load_model(home.configs, model), home), on_progress)


def emit_run(as_json: bool, result: Any, show: Callable[[], None]) -> None:
    """Print the result of a run, and on stderr that no Prefect server has it if none is configured."""
    if server_address() is None:
        typer.echo(start.WITHOUT_SERVER, err=True)
    output.emit(as_json, result, show)


govern.register(app)
upkeep.register(app)
audit.register(app)
export.register(app)
across.register(app)
new.register(app)
project.register(app)
replay.register(app)
ci.register(app)
serve.register(app)
app.command(name="ui")(ui.ui)
help_examples.attach(app)


def main() -> None:
    """Run the command line. Every error is reported in one line, with the exit code of its kind."""
    with one_line():
        if not completion.completing():
            prepare()
        app()
