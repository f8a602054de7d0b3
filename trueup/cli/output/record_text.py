"""Prints what the ledger, the quarantine and audits return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trueup.cli.output import lines, out, say, table, word
from trueup.cli.output.status_text import decision_line

if TYPE_CHECKING:
    from trueup.audit.dossier import Made
    from trueup.audit.reproduce import Reproduced
    from trueup.audit.verify import Verified
    from trueup.governance.status import DecisionSummary


def ledger(entries: Sequence[DecisionSummary]) -> None:
    """Print decisions, newest first."""
    if not entries:
        out.print("no decisions yet; next: trueup run MODEL")
    for entry in entries:
        out.print(decision_line(entry) + f"  [dim]{entry.hash[:12]}[/]")
        lines([*entry.reasons, *([entry.onnx] if entry.onnx else [])])


def verified(result: Verified) -> None:
    """Print whether the ledger is intact."""
    looked = f"{result.entries:,} entries, {result.anchors:,} anchors, files of {result.models:,} versions"
    if result.problems:
        out.print(f"[red]{len(result.problems)} problems[/] in {looked}")
        lines([str(problem) for problem in result.problems])
    else:
        out.print(f"[green]right[/]: {looked}")
    for bundle in result.bundles:
        named = f"{bundle.model} version {bundle.version}" if bundle.model else "not to be believed"
        word_ = "[red]not right[/]" if bundle.problems else "[green]right[/]"
        out.print(f"{word_}: bundle {bundle.place}: {named}", highlight=False, soft_wrap=True)
        lines(bundle.problems)


def dossier(made: Made) -> None:
    """Print the place of a dossier."""
    out.print(f"[bold]{made.model}[/] version {made.version}")
    for name, place in {"page": made.page, "JSON": made.data, "packages": made.sbom}.items():
        say(f"{name:<10} {place or 'no bill of materials; the page has the reason'}")


def reproduced(result: Reproduced) -> None:
    """Print whether a version was reproduced, and the differences."""
    out.print(
        f"[bold]{result.model}[/] version {result.version} ({result.role}; ledger entry {result.sequence}, "
        f"{word(result.outcome)})",
        highlight=False,
    )
    out.print(f"  [green]{result.message}[/]" if result.same else "  [red]not the same[/]", highlight=False)
    lines([str(d) for d in result.differences])
    if result.onnx:
        lines([f"ONNX form: {result.onnx}"])
    for name, value in result.metrics.items():
        out.print(f"  {name}: {value['rebuilt']:.6g} (recorded {value['recorded']:.6g})", highlight=False)
    if result.circumstances:
        out.print("  differences from today's environment:")
        lines([str(d) for d in result.circumstances])


def quarantine(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows in quarantine."""
    if not rows:
        out.print("nothing in quarantine")
        return
    columns = list(rows[0])
    out.print(table(columns, [[str(row[c]) for c in columns] for row in rows], figures=["row_id"]))
