"""Commands for decisions by people: approve, reject, rollback, promote. None of them needs a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trueup.cli import output
from trueup.cli.options import Json, ModelName
from trueup.cli.output import turn_text
from trueup.config.load import load_model
from trueup.orchestration.actor import at_the_command_line
from trueup.orchestration.context import opened_home

if TYPE_CHECKING:
    from trueup.handoffs import Decided
    from trueup.model import Model

Identity = Annotated[
    str, typer.Argument(metavar="ID", help="Number of the pending ledger entry (see `trueup status`), or its id.")
]
By = Annotated[str, typer.Option(metavar="NAME", help="Who decides; recorded in the ledger.", show_default=False)]
Why = Annotated[str, typer.Option(metavar="TEXT", help="The reason; recorded in the ledger.", show_default=False)]


def approve(
    identity: Identity,
    by: By,
    why: Annotated[str, typer.Option(metavar="TEXT", help="A remark; recorded in the ledger.")] = "",
    as_json: Json = False,
) -> None:
    """Promote a challenger that passed its gates and waits for a person."""
    from trueup.governance import approval
    from trueup.model import Model

    with opened_home(at_the_command_line()) as home:
        entry = approval.pending(home, identity)
        about = Model(load_model(home.configs, entry.model), home)
        _finish(as_json, about, approval.approve(about, entry, by, why))


def reject(identity: Identity, by: By, why: Why, as_json: Json = False) -> None:
    """Reject a challenger that passed its gates and waits for a person; the champion stays."""
    from trueup.governance import approval
    from trueup.model import Model

    with opened_home(at_the_command_line()) as home:
        entry = approval.pending(home, identity)
        about = Model(load_model(home.configs, entry.model), home)
        _finish(as_json, about, approval.reject(about, entry, by, why))


def rollback(
    model: ModelName,
    by: By,
    why: Why,
    to: Annotated[
        int | None, typer.Option(metavar="VERSION", help="A registered version; default: the last good champion.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make an earlier version the champion again, at once."""
    from trueup.governance.rollback import roll_back
    from trueup.model import Model

    with opened_home(at_the_command_line()) as home:
        about = Model(load_model(home.configs, model), home)
        _finish(as_json, about, roll_back(about, to, by, why))


def promote(
    model: ModelName,
    version: Annotated[int, typer.Argument(help="A registered version.", show_default=False)],
    by: By,
    why: Why,
    asked_by: Annotated[
        str,
        typer.Option(metavar="NAME", help="Who requested it, if `promote.approval.four_eyes` requires two persons."),
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a version the champion by hand, regardless of its gates; it is recorded as an override."""
    from trueup.governance.rollback import override
    from trueup.model import Model

    with opened_home(at_the_command_line()) as home:
        about = Model(load_model(home.configs, model), home)
        _finish(as_json, about, override(about, version, by, why, asked_by))


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""
    for command in (approve, reject, rollback, promote):
        app.command()(command)


def _finish(as_json: bool, about: Model, decided: Decided) -> None:
    """Print a decision, and publish it, so that servers need not wait until they notice the entry."""
    from trueup.online.publish import publish_after_turn

    output.emit(as_json, decided, lambda: turn_text.decision(decided))
    publish_after_turn(about)
