"""Prints the comparison of a data contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from trueup.cli.output import say

if TYPE_CHECKING:
    from trueup.onboarding.contract import Compared


def compared(done: Compared) -> None:
    """Print each difference on a line, then what was compared."""
    for finding in done.findings:
        typer.echo(str(finding))
    for rule in done.not_checked:
        say(f"not checked here, because only another program can: {rule}")
    rows = f" and the rows of {done.batch}" if done.batch else "; no batch has landed yet"
    count = (
        f"{len(done.findings)} difference{'' if len(done.findings) == 1 else 's'}" if done.findings else "no difference"
    )
    say(f"{done.model}: {count} between {done.contract} ({done.table}) and the config, the source{rows}")
