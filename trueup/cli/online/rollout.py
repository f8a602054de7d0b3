"""Commands for the rollout of a challenger: what it is at, and what a person does about it. None needs a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.govern import By, Why
from trueup.cli.options import Json, ModelName, at_home
from trueup.config.load import load_model
from trueup.orchestration.actor import at_the_command_line
from trueup.orchestration.context import opened_home

if TYPE_CHECKING:
    from trueup.domain.judging.rollout import Traffic
    from trueup.governance.rollout import Act
    from trueup.online.rollout import Checked, RolloutStatus

app = typer.Typer(
    help="A challenger that meets online traffic before it becomes the champion (`promote.rollout`).",
    no_args_is_help=True,
)


@app.command()
def status(model: ModelName, as_json: Json = False) -> None:
    """Show the rollout under way: its step, its figures, and what the rule says about them."""
    from trueup.model import Model
    from trueup.online.rollout import status

    with at_home(looks=True) as home:
        shown = status(Model(load_model(home.configs, model), home))
    output.emit(as_json, {"rollout": shown}, lambda: _print_status(model, shown))


@app.command()
def check(model: ModelName, as_json: Json = False) -> None:
    """Look at the figures now, and advance the rollout, roll it back, or wait. Servers and each run do this, too."""
    from trueup.model import Model
    from trueup.online.publish import publish_after_turn
    from trueup.online.rollout import check

    with opened_home(at_the_command_line()) as home:
        about = Model(load_model(home.configs, model), home)
        done = check(about)
        publish_after_turn(about)
    output.emit(as_json, {"checked": done}, lambda: _print_check(model, done))


@app.command()
def pause(model: ModelName, by: By, why: Why, as_json: Json = False) -> None:
    """Keep a rollout at its step. It is still rolled back when a limit is exceeded."""
    _act("pause", model, by, why, as_json)


@app.command()
def resume(model: ModelName, by: By, why: Why, as_json: Json = False) -> None:
    """Let a paused rollout go on."""
    _act("resume", model, by, why, as_json)


@app.command()
def advance(
    model: ModelName,
    by: By,
    why: Why,
    at_step: Annotated[
        int | None, typer.Option(min=0, help="The step that `status` showed; at another one nothing is done.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Take a rollout a step further without waiting; from the last step the challenger becomes the champion."""
    _act("advance", model, by, why, as_json, at_step)


@app.command()
def abort(model: ModelName, by: By, why: Why, as_json: Json = False) -> None:
    """End a rollout: the challenger is rejected, and the champion stays."""
    _act("abort", model, by, why, as_json)


def _act(action: Act, model: str, by: str, why: str, as_json: bool, at_step: int | None = None) -> None:
    from trueup.governance import rollout
    from trueup.governance.status import DecisionSummary
    from trueup.model import Model
    from trueup.online.publish import publish_after_turn

    with opened_home(at_the_command_line()) as home:
        about = Model(load_model(home.configs, model), home)
        entry = DecisionSummary.of(rollout.act(about, action, by, why, at_step))
        publish_after_turn(about)  # servers need not wait until they notice the entry

    def show() -> None:
        output.say(f"{output.word(entry.outcome)} version {entry.version} (ledger entry {entry.sequence})")
        output.lines(entry.reasons)

    output.emit(as_json, entry, show)


def _print_check(model: str, done: Checked | None) -> None:
    if done is None:
        output.say(f"{model}: no rollout is under way")
        return
    decided = f"{output.word(done.decided)} (ledger entry {done.sequence})" if done.decided else "waits"
    output.say(f"{model} version {done.version}: {decided}")
    output.lines(done.reasons)


def _print_status(model: str, shown: RolloutStatus | None) -> None:
    if shown is None:
        output.say(f"{model}: no rollout is under way")
        return
    step = "shadow, step 0" if shown.step == 0 else f"canary, step {shown.step}"
    step = f"{step} of {shown.steps}"
    keys = f", {100 * shown.share:g} % of the keys" if shown.step else ""
    paused = ", [yellow]paused[/]" if shown.paused else ""
    output.say(f"[bold]{model}[/]: version {shown.version} beside champion {shown.champion}: {step}{keys}{paused}")
    output.say(
        f"  since {shown.since:%Y-%m-%d %H:%M} UTC (ledger entry {shown.sequence}), until {shown.deadline:%Y-%m-%d %H:%M} UTC"
    )
    for number, traffic in enumerate(shown.traffic):
        output.say(f"  step {number}: {_counts(traffic)}")
    output.say(f"  matured rows predicted by both: {shown.labels:,}")
    for verdict in shown.verdicts:
        output.say(f"  {verdict.check.replace('_', ' ')}: {output.word(verdict.status.value)}")
        output.lines(verdict.reasons)
    output.say(f"  {shown.action}:")
    output.lines(shown.reasons)


def _counts(traffic: Traffic) -> str:
    asked = f"{traffic.requests:,} requests to both, {traffic.rows:,} rows predicted by the challenger"
    given = f", {traffic.answered:,} of them given" if traffic.answered else ""
    return (
        f"{asked}{given}; {traffic.failures:,} errors, {traffic.non_finite:,} not finite, {traffic.slower:,} too slow"
    )
