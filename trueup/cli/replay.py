"""The command that replays policies: when to retrain, and what it is worth."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.completion import models
from trueup.config.load import load_model
from trueup.errors import UsageError
from trueup.orchestration.actor import at_the_command_line
from trueup.orchestration.context import opened_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from trueup.domain.data.types import Window

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def replay_(
    model: Annotated[
        str, typer.Argument(help="Name of a config: configs/<MODEL>.yaml.", show_default=False, autocompletion=models)
    ],
    policy: Annotated[
        list[str] | None,
        typer.Option(
            "--policy",
            metavar="TEXT",
            help="What to compare, such as 'frozen', 'every 1 week, no gate' or 'on decay, cooldown {7, 30} days', where "
            "braces mean a policy for each value; once for each. Default: those of the config, or the usual ones.",
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
    known_then: Annotated[
        bool,
        typer.Option(
            "--known-then",
            help="Only what this home had landed by each moment, instead of what the source holds today; for a home that "
            "has run for a while.",
        ),
    ] = False,
    write_block: Annotated[
        bool, typer.Option("--write", help="Write the recommended policy into the config's file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object as the last line of stdout.")] = False,
) -> None:
    """Let policies of retraining live through the model's own history, and compare what they lose and cost.

    Each goes through the same stages as `trueup run`, batch by batch, in a home of its own. Stopped and started again it
    goes on where it was.
    """
    from trueup.config.policies import parse_all
    from trueup.model import Model
    from trueup.replay.compare import usual
    from trueup.replay.replay import forget, replay, whole_span
    from trueup.replay.report import publish

    with opened_home(at_the_command_line()) as home:
        config = load_model(home.configs, model)
        span: Window = whole_span(Model(config, home), start, end)
        chosen = parse_all(policy) if policy else usual(config)
        if fresh:
            forget(Model(config, home), span, known_then)
        with output.progress(f"{len(chosen)} policies") as tell:
            lives = replay(Model(config, home), span, chosen, workers, tell, known_then)
        found = publish(Model(config, home), span, lives, known_then)
        written = write_recommended(home.configs, found.facts) if write_block else None
    if as_json:
        output.as_json({**found.facts, "page": str(found.page)})
    else:
        output.replayed(found.facts, found.page, written)


def write_recommended(configs: Path, facts: Mapping[str, Any]) -> Path:
    """Write what was recommended into the model's config. Raises UsageError for what is no choice, ConfigError."""
    from trueup.config.edit import write_changes

    chosen = next(p for p in facts["policies"] if p["name"] == facts["recommended"])
    if "ingest" in chosen["changes"]:
        raise UsageError(
            f"`{chosen['name']}` supposes other batches or another label delay, which no config can choose: nothing was "
            "written; the report has the block"
        )
    return write_changes(configs, facts["model"], chosen["changes"])


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="replay")(replay_)
