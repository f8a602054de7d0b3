"""`trueup up`, `trueup down` and `trueup stack status`."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli.options import Json
from trueup.cli.output import emit

if TYPE_CHECKING:
    from trueup.orchestration.deployed import SmokeRun
    from trueup.orchestration.stack.control import Status

app = typer.Typer(no_args_is_help=True)
stack_app = typer.Typer(help="The servers of this home.", no_args_is_help=True)
app.add_typer(stack_app, name="stack")

TITLES = {
    "prefect": "Prefect",
    "mlflow": "MLflow",
    "evidently": "Evidently",
    "reports": "Reports",
    "serve": "Models",
    "ui": "Live",
}


@app.command()
def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when every server answers.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds until the servers must answer.", min=1)] = 180.0,
    as_json: Json = False,
) -> None:
    """Start Prefect with a worker, MLflow, Evidently's UI, the reports, the live page and the models' server, and deploy.

    Stays in the foreground and prints the servers' output, until Ctrl-C ends them all.
    """
    from trueup.orchestration.stack import control

    layout, started = control.here(), time.monotonic()
    try:
        fresh = control.up(layout, wait, _say)
    except KeyboardInterrupt:
        _say("interrupted; everything that was started has been stopped")
        raise typer.Exit(130) from None
    state = control.status(layout)
    if fresh:
        _say(f"up after {time.monotonic() - started:.0f} s")
    else:
        _say(f"the stack of {layout.home} runs already; `trueup down` ends it")
    emit(as_json, {"started": fresh, **asdict(state)}, lambda: _show(state))
    if detach or not fresh:
        return
    _say(f"logs: {layout.logs}; Ctrl-C ends everything")
    try:
        with control.ending(layout):
            control.follow(layout, typer.echo)
    except KeyboardInterrupt:
        _say("down")


@app.command()
def deploy(
    smoke: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Start the flow `run` of this model there, and wait for its end."),
    ] = None,
    wait: Annotated[float, typer.Option(help="With --smoke: seconds until the run must have ended.", min=1)] = 1800.0,
    as_json: Json = False,
) -> None:
    """Deploy prefect.yaml to a Prefect server: that of --env, or the configured one. `trueup up` does this by itself."""
    from trueup.orchestration import deployed

    done = deployed.deploy_project()
    for line in done.lines():
        _say(line)
    run = deployed.smoke_run(smoke, wait) if smoke else None
    emit(as_json, {"deployed": asdict(done), "smoke": run and asdict(run)}, lambda: _show_smoke(run))


@app.command()
def down(as_json: Json = False) -> None:
    """End every process of this home's stack."""
    from trueup.orchestration.stack import control

    ended = control.down(control.here())
    ran = ended is not None
    emit(as_json, {"ran": ran}, lambda: typer.echo("down" if ran else "nothing was running"))


@stack_app.command("status")
def status(as_json: Json = False) -> None:
    """Show what runs, and where. Exit code 1 if the stack, or a program of it, is not up."""
    from trueup.orchestration.stack import control

    state = control.status(control.here())
    emit(as_json, state, lambda: _show_programs(state))
    if not state.ready or state.down:
        raise typer.Exit(1)


def _show(state: Status) -> None:
    for program, address in state.addresses.items():
        typer.echo(f"{TITLES[program]:<10} {address}")


def _show_programs(stack: Status) -> None:
    if not stack.running:
        typer.echo("not running; `trueup up` starts it")
    _show(stack)
    for program, state in stack.programs.items():
        typer.echo(f"{program:<10} {state.lower():<10} pid {stack.pids.get(program, '-')}")


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _show_smoke(run: SmokeRun | None) -> None:
    if run is not None:
        _say(f"flow run {run.name}: {run.state} after {run.seconds:.0f} s")
