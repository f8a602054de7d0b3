"""Prints the comparison of a pull request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from trueup.ci.escape import plain
from trueup.cli.output import out, say

if TYPE_CHECKING:
    from trueup.ci.findings import Result


def compared(result: Result, folder: Path) -> None:
    """Print each verdict with what decided, and where the report is."""
    for c in result.comparisons:
        out.print(f"{escape(plain(c.model))}: {c.verdict}", highlight=False)
        for found in c.findings:
            say(f"  {found.kind}{' (fails)' if found.fails else ''}: {escape(plain(found.sentence))}")
        for remark in c.remarks:
            say(f"  {escape(plain(remark))}")
    if not result.comparisons:
        say("no model is affected")
    if result.tests is not None:
        say(f"tests of the project: {escape(result.tests.outcome)}, {escape(plain(result.tests.summary))}")
    say(f"the comment is in {escape(str(folder / 'comment.md'))}")
