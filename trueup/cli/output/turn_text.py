"""Prints a turn of the loop, and a decision."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from trueup.cli.output import lines, out, say, then, word
from trueup.domain.monitoring.estimates.words import words_of

if TYPE_CHECKING:
    from trueup.handoffs import Cycle, Decided, Drained, Observed, Scored


def cycle(done: Cycle, again: datetime) -> None:
    """Print one turn of the loop, and the next command; `again` is when the next batch is complete."""
    out.print(f"[bold]{done.model}[/] as of {done.as_of:%Y-%m-%d %H:%M}")
    predicted = {s.window: s for s in done.scored}
    diagnosed = {o.window: o for o in done.observed}
    printed = set[str]()  # a remark about several batches is printed with the first
    for checked in done.batches:
        batch = checked.batch
        # A batch that is monitored again because of new labels is not scored again.
        what = "batch" if batch.window in predicted else "watched again: batch"
        out.print(
            f"  {what} {batch.rows.name}: {batch.rows.rows:,} rows, validation {word(checked.status.value)}, {checked.quarantined:,} in quarantine",
            soft_wrap=True,
        )
        lines(checked.reasons if not checked.usable else ())
        lines(fresh := [w for w in checked.warnings if w not in printed])
        printed.update(fresh)
        if batch.window in predicted:
            scored(predicted[batch.window], indent="  ")
        observation(diagnosed[batch.window], indent="  ")
    for scored_ in done.released:
        out.print(f"  batch {scored_.window}: rows released from quarantine")
        scored(scored_, indent="  ")
    if done.drained is not None and done.drained.records:
        served(done.drained)
    decision(done.decided, indent="  ")
    if done.broken:
        then(f"trueup quarantine list {done.model}")
    elif done.problem is None:
        more = f", once the batch that ends {again:%Y-%m-%d} is complete" if done.decided.outcome == "held" else ""
        then(_after(done.model, done.decided) + more)


def retrained(model: str, done: Decided) -> None:
    """Print the end of a retrain, and the next command."""
    decision(done)
    more = ", once more labels are known" if done.outcome == "held" else ""
    then(_after(model, done) + more)


def _after(model: str, done: Decided) -> str:
    if done.outcome == "pending":
        return f"trueup approve {done.sequence} --by NAME, or trueup reject {done.sequence} --by NAME --why TEXT"
    if done.outcome == "rollout":
        return f"trueup rollout status {model}"
    return f"trueup {'run' if done.outcome == 'held' else 'status'} {model}"


def served(done: Drained) -> None:
    """Print what became of the predictions of `trueup serve`."""
    say(f"  served: {done.records:,} records in the log, {done.new:,} new predictions")
    lines(done.words)


def scored(done: Scored, indent: str = "") -> None:
    """Print the number of predictions."""
    by = f"by version {done.version}" if done.version else ""
    out.print(f"{indent}scored {done.new:,} new of {done.total:,} rows {by} {done.note}".rstrip())


def observation(done: Observed, indent: str = "") -> None:
    """Print a diagnosis and its reasons."""
    out.print(f"{indent}diagnosis {done.window}: {word(done.diagnosis)}")
    lines([*done.reasons, *words_of(done.figures.estimate)])


def decision(done: Decided, indent: str = "") -> None:
    """Print a decision, its verdicts, and its place."""
    which = f" version {done.version}" if done.version else ""
    where = f" (ledger entry {done.sequence})" if done.sequence else ""
    out.print(f"{indent}decision: {word(done.outcome)}{which}{where}")
    lines(done.reasons)
