"""The command `replay`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.options import Json, ModelName
from trueup.cli.output import replay_text
from trueup.config.load import load_model
from trueup.errors import UsageError
from trueup.orchestration.actor import at_the_command_line
from trueup.orchestration.context import opened_home

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy",
        metavar="TEXT",
        help="What to compare, such as 'frozen', 'every 1 week, no gate' or 'on decay, cooldown {7, 30} days', where "
        "braces mean a policy for each value; once for each. Default: those of the config, or the usual ones.",
    ),
]
Start = Annotated[
    datetime | None,
    typer.Option("--from", formats=_FORMATS, metavar="TIME", help="Start of the history; default: that of the source."),
]
End = Annotated[
    datetime | None,
    typer.Option(
        "--to", formats=_FORMATS, metavar="TIME", help="End of the history; default: the newest complete batch."
    ),
]
Workers = Annotated[int, typer.Option(min=1, help="Number of policies in parallel, each in its own process.")]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Delete earlier results for this config and span, after data or code changed."),
]
KnownThen = Annotated[
    bool,
    typer.Option(
        "--known-then",
        help="Use only what this home had landed by each moment, instead of today's source; for a home that "
        "has run for a while.",
    ),
]
WriteBlock = Annotated[bool, typer.Option("--write", help="Write the recommended policy into the config's file.")]


def replay_(
    model: ModelName,
    policy: Policies = None,
    start: Start = None,
    end: End = None,
    workers: Workers = 1,
    fresh: Fresh = False,
    known_then: KnownThen = False,
    write_block: WriteBlock = False,
    as_json: Json = False,
) -> None:
    """Play retraining policies through the model's own history, and compare loss and cost.

    Each policy uses the same stages as `trueup run`, batch by batch, in a home of its own. An interrupted replay
    continues where it stopped.
    """
    from trueup.config.policies import parse_all, usual
    from trueup.model import Model
    from trueup.replay.replay import forget, replay, whole_span
    from trueup.replay.report import publish

    with opened_home(at_the_command_line()) as home:
        opened = Model(load_model(home.configs, model), home)
        span = whole_span(opened, start, end)
        chosen = parse_all(policy) if policy else usual(opened.config)
        if fresh:
            forget(opened, span, known_then)
        with output.progress(f"{len(chosen)} policies") as on_progress:
            runs = replay(opened, span, chosen, workers, on_progress, known_then)
        report = publish(opened, span, runs, known_then)
        written = write_recommended(home.configs, report.facts) if write_block else None
    facts = {**report.facts, "page": report.page}
    output.emit(as_json, facts, lambda: replay_text.replayed(report.facts, report.page, written))


def write_recommended(configs: Path, facts: Mapping[str, Any]) -> Path:
    """Write the recommended policy into the model's config. Raises UsageError without one, ConfigError."""
    from trueup.config.edit import write_changes

    chosen = next(p for p in facts["policies"] if p["name"] == facts["recommended"])
    if "ingest" in chosen["changes"]:
        raise UsageError(
            f"`{chosen['name']}` assumes other batches or another label delay, which no config can set: nothing was "
            "written; the report has the block"
        )
    return write_changes(configs, facts["model"], chosen["changes"])


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(name="replay")(replay_)
