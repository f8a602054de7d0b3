"""The command that replays policies: when to retrain, and what it is worth."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from flows import show
from flows.actor import at_the_command_line
from flows.opening import opened_home
from trueup.config.load import load_model

if TYPE_CHECKING:
    from trueup.domain.types import Window

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def replay(
    model: Annotated[str, typer.Argument(help="Name of a config: configs/<MODEL>.yaml.", show_default=False)],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="TEXT",
            help="What to compare, such as 'frozen', 'every 1 week, no gate' or 'on decay, trailing 90 days'; once for "
            "each. Default: the usual ones.",
        ),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            "--from", formats=_FORMATS, metavar="TIME", help="Where the history begins; default: where the source does."
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            "--to", formats=_FORMATS, metavar="TIME", help="Where it ends; default: with the newest complete batch."
        ),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Policies at once, each in a process of its own.")] = 1,
    fresh: Annotated[
        bool,
        typer.Option(
            "--fresh",
            help="Throw away what was replayed of this config and span before: for data or code that changed.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")] = False,
) -> None:
    """Let policies of retraining live through the model's own history, and compare what they lose and cost.

    Each goes through the same stages as `trueup run`, batch by batch, in a home of its own. Stopped and started again it
    goes on where it was.
    """
    from trueup.replay.compare import compare, usual
    from trueup.replay.policies import parse
    from trueup.replay.replay import forget, whole_span
    from trueup.replay.replay import replay as play
    from trueup.replay.report import write

    with opened_home(at_the_command_line()) as ports:
        config = load_model(ports.configs, model)
        span: Window = whole_span(config, ports, start, end)
        chosen = [parse(text) for text in policy] if policy else usual(config)
        if fresh:
            forget(config, ports, span)
        with show.progress(f"{len(chosen)} policies") as tell:
            lives = play(config, ports, span, chosen, workers, tell)
        found = compare(config, span, lives)
        page = write(found, ports)
    if as_json:
        show.as_json({**found.facts, "page": str(page)})
    else:
        show.replayed(found.facts, page)


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(replay)
