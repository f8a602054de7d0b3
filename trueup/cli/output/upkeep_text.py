"""Prints what the upkeep of a home did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from humanize import naturalsize

from trueup.cli.output import lines, out, say, table, then
from trueup.cli.output.turn_text import served

if TYPE_CHECKING:
    from trueup.orchestration.recovery.reconcile_home import Reconciled
    from trueup.upkeep.backup import Saved
    from trueup.upkeep.forget import Forgotten
    from trueup.upkeep.move import Moved
    from trueup.upkeep.orphans import Orphans
    from trueup.upkeep.retention import Cleared
    from trueup.upkeep.simulate_arrivals import Fed


def forgotten(done: Forgotten) -> None:
    """Print what was erased."""
    say(
        f"erased {done.records:,} records of the prediction log and {done.features:,} rows of served features "
        f"(entry {done.sequence} of the ledger)"
    )
    then(f"trueup ledger show {done.model}")


def fed(done: Fed) -> None:
    """Print how far a source was released."""
    newest = f", the newest {done.released[-1]} with {done.rows:,} rows" if done.released and done.rows else ""
    out.print(f"{len(done.released)} handed out{newest}; {len(done.left)} left", soft_wrap=True)
    say(f"the loop reads them with TRUEUP_CONFIGS={done.configs}")


def reconciled(result: Reconciled) -> None:
    """Print what was repaired."""
    out.print(f"events: {result.events.delivered} delivered, {result.events.pending} wait for a server")
    if result.failed_automations:
        out.print(f"automations: {result.failed_automations} failed; announced as trueup.automation.failed")
    for m in result.models:
        alias = f"alias set to v{m.alias}" if m.alias else "alias right"
        closed = f"{len(m.closed_runs)} MLflow runs closed"
        out.print(f"{m.model}: {alias}, {closed}{_orphans(m.orphans)} {m.note}".rstrip(), highlight=False)
        if m.drained is not None and m.drained.records:
            served(m.drained)
    p = result.prefect
    out.print(
        f"Prefect: {len(p.flow_runs)} flow runs and {len(p.task_runs)} task runs marked as crashed, "
        f"{len(p.again)} restarted"
    )
    if result.overtaken:
        out.print(f"waiting runs cancelled, because another one does the same: {len(result.overtaken)}")
    if result.views:
        out.print(f"closed pages of approvals that were decided elsewhere: {', '.join(result.views)}", highlight=False)
    lines(result.problems)


def _orphans(orphans: Orphans) -> str:
    """Print what was removed from MLflow."""
    counts = {"runs": len(orphans.runs), "versions": len(orphans.versions), "models": len(orphans.models)}
    counted = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return f", removed what died without a decision: {counted}" if counted else ""


def cleared(result: Cleared) -> None:
    """Print how many files of each kind were removed, and their size."""
    rows = [
        [each.model or "(shared)", kind.kind, f"{kind.files:,}", naturalsize(kind.bytes)]
        for each in result.collected
        for kind in each.removed
        if kind.files
    ]
    if rows:
        out.print(table(["model", "kind", "files", "size"], rows, figures=["files", "size"]))
    files, total = (sum(getattr(k, name) for c in result.collected for k in c.removed) for name in ("files", "bytes"))
    out.print(f"{files:,} files, {naturalsize(total)}, {'would be removed' if result.dry_run else 'removed'}")
    lines([*(c.note for c in result.collected if c.note), *result.problems])


def saved(done: Saved) -> None:
    """Print the place of a copy, and what is not in it."""
    say(f"{done.place}: {done.files:,} files, {naturalsize(done.bytes)}")
    for word, places in {"loaded": done.loaded, "left behind": done.left, "not in it": done.elsewhere}.items():
        for place in places:
            say(f"  {word}: {place}")


def moved(done: Moved) -> None:
    """Print the new place of a home, what was verified there, and what to set."""
    say(f"moved to {done.home}: {done.files:,} files ({naturalsize(done.bytes)}) have equal digests,")
    say(f"  {done.batches:,} batches have their digests, {done.entries:,} ledger entries are as they were")
    lines([f"came along: {problem}" for problem in done.problems])
    say(f"  set TRUEUP_HOME={done.home}, and as far as they are not in it, TRUEUP_DATABASE_URL={done.database}")
    say(f"  and TRUEUP_MLFLOW_URI={done.mlflow}")
    say("  the old home is closed for writing, and nothing in it was deleted")


def reopened(home: Path, opened: bool) -> None:
    """Print whether a home was closed."""
    say(f"{home} {'is open again: do not work in the new home, too' if opened else 'was not closed'}")
