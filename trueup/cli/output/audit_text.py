"""Prints what an audit found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trueup.cli.output import lines, out, say

if TYPE_CHECKING:
    from trueup.audit.nightly import Audited


def audited(done: Audited) -> None:
    """Print all findings with their next steps, then what could not be checked."""
    out.print(f"[{'red' if done.findings else 'green'}]{done.title}[/]", highlight=False)
    for finding in done.findings:
        of = "" if finding.model is None else f"{finding.model}: "
        say(f"{finding.check}: {of}{finding.what}")
        lines([f"next: {finding.step}"])
    for each in done.unchecked:
        say(f"not checked: {each.check}: {each.why}")
    say(f"checked: {done.entries:,} ledger entries, {done.models:,} models, {done.packages:,} packages")
