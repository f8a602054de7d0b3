"""Prints records: status, ledger, quarantine, dossiers, reproductions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from trueup.cli.output import lines, out, say, table, word

if TYPE_CHECKING:
    from trueup.audit.dossier import Made
    from trueup.audit.reproduce import Reproduced
    from trueup.audit.verify import Verified
    from trueup.governance.status import ChampionThen, DecisionSummary, NoChampionThen, Overview


def status(states: Sequence[Overview]) -> None:
    """Print each model's state."""
    for state in states:
        out.print(f"[bold]{state.model}[/]  {state.about}", highlight=False)
        if state.champion is None:
            out.print(f"  no champion yet; next: trueup run {state.model}")
        else:
            age = state.champion_age_days
            out.print(
                f"  champion: version {state.champion}, trained on data until {state.trained_until:%Y-%m-%dT%H:%M}"
                + ("" if age is None else f" ({age:.0f} days old at the last look)")
            )
            if not state.alias_agrees:
                out.print(
                    "  [red]MLflow's alias names another version than the ledger; the next run, or `trueup reconcile`, sets it right[/]"
                )
        if state.diagnosis:
            out.print(f"  last batch {state.last_batch}: {word(state.diagnosis)}")
            lines(state.reasons)
        _governance(state)
        for entry in state.decisions:
            out.print(f"  {_entry(entry)}")


def _governance(state: Overview) -> None:
    """Print what waits for a person, and a champion on probation."""
    for waiting in state.approvals:
        out.print(
            f"  [yellow]waits for approval[/]: version {waiting.version}, for {waiting.age_hours:.1f} h, "
            f"until {waiting.expires_at:%Y-%m-%d %H:%M} UTC; decide: trueup approve {waiting.id} --by NAME, "
            f"or trueup reject {waiting.id} --by NAME --why TEXT",
            highlight=False,
        )
        lines(waiting.reasons)
    if state.probation is not None:
        out.print(f"  probation: {state.probation.says}", highlight=False)


def standing(states: Sequence[ChampionThen | NoChampionThen]) -> None:
    """Print the champions at a moment, and their decisions."""
    for state in states:
        out.print(f"[bold]{state.model}[/] at {_minute(state.at)}", highlight=False)
        if state.champion is None:
            out.print("  nothing served yet")
            continue
        until = f"until {_minute(state.until)}" if state.until else "and serves still"
        trained, judged = state.trained, state.judged_on
        out.print(f"  version {state.champion} served, from {_minute(state.since)} {until}", highlight=False)
        out.print(
            f"  trained on {trained.rows:,} rows, {_minute(trained.trained_from)} to {_minute(trained.trained_until)}"
        )
        out.print(f"  judged on {_minute(judged.start)} to {_minute(judged.end)}")
        out.print(f"  {_entry(state.decision)}")
        lines(state.decision.reasons)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def ledger(entries: Sequence[DecisionSummary]) -> None:
    """Print decisions, newest first."""
    if not entries:
        out.print("no decisions yet; next: trueup run MODEL")
    for entry in entries:
        out.print(_entry(entry) + f"  [dim]{entry.hash[:12]}[/]")
        lines(entry.reasons)


def verified(found: Verified) -> None:
    """Print whether the ledger is intact."""
    looked = f"{found.entries:,} entries, {found.anchors:,} anchors, files of {found.models:,} versions"
    if not found.problems:
        out.print(f"[green]right[/]: {looked}")
        return
    out.print(f"[red]{len(found.problems)} problems[/] in {looked}")
    lines([str(problem) for problem in found.problems])


def dossier(made: Made) -> None:
    """Print the place of a dossier."""
    out.print(f"[bold]{made.model}[/] version {made.version}")
    for name, place in {"page": made.page, "JSON": made.data, "packages": made.sbom}.items():
        say(f"{name:<10} {place or 'no bill of materials; the page says why'}")


def reproduced(found: Reproduced) -> None:
    """Print whether a version was reproduced, and the differences."""
    out.print(
        f"[bold]{found.model}[/] version {found.version} ({found.role}; ledger entry {found.sequence}, "
        f"{word(found.outcome)})",
        highlight=False,
    )
    out.print(f"  [green]{found.said}[/]" if found.same else "  [red]not the same[/]", highlight=False)
    lines([str(d) for d in found.differences])
    for name, value in found.metrics.items():
        out.print(f"  {name}: {value['rebuilt']:.6g} (recorded {value['recorded']:.6g})", highlight=False)
    if found.circumstances:
        out.print("  differences from today's environment:")
        lines([str(d) for d in found.circumstances])


def _entry(entry: DecisionSummary) -> str:
    which = f" version {entry.version}" if entry.version else ""
    return f"#{entry.sequence} {entry.as_of:%Y-%m-%d} {entry.model}: {word(entry.outcome)}{which} ({entry.reason})"


def quarantine(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows in quarantine."""
    if not rows:
        out.print("nothing in quarantine")
        return
    columns = list(rows[0])
    out.print(table(columns, [[str(row[c]) for c in columns] for row in rows], figures=["row_id"]))
