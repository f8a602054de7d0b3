"""Prints the state of models, and the champions at a moment."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from trueup.cli.output import lines, out, word
from trueup.domain.monitoring.estimates.words import words_of

if TYPE_CHECKING:
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
            lines([*state.reasons, *words_of(state.estimate)])
        _governance(state)
        _rollout(state)
        for entry in state.decisions:
            out.print(f"  {decision_line(entry)}")


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


def _rollout(state: Overview) -> None:
    """Print the challenger that meets online traffic."""
    if (tried := state.rollout) is not None:
        out.print(
            f"  [yellow]rollout[/]: {tried.says}, until {tried.deadline:%Y-%m-%d %H:%M} UTC; figures: trueup rollout status "
            f"{state.model}",
            highlight=False,
            soft_wrap=True,
        )


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
        out.print(f"  {decision_line(state.decision)}")
        lines(state.decision.reasons)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def decision_line(entry: DecisionSummary) -> str:
    """A decision as a line, without its reasons."""
    which = f" version {entry.version}" if entry.version else ""
    return f"#{entry.sequence} {entry.as_of:%Y-%m-%d} {entry.model}: {word(entry.outcome)}{which}" + (
        f" ({entry.reason})" if entry.reason else ""
    )
