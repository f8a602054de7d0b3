"""Prints results on a terminal, and as JSON."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from humanize import naturalsize
from pydantic import ConfigDict, TypeAdapter
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from trueup.errors import TrueupError

if TYPE_CHECKING:
    from trueup.cli.demo import Demo
    from trueup.handoffs import Cycle, Decided, Drained, Observed, Scored
    from trueup.orchestration.recovery.reconcile_home import Reconciled
    from trueup.upkeep.backup import Saved
    from trueup.upkeep.forget import Forgotten
    from trueup.upkeep.move import Moved
    from trueup.upkeep.orphans import Orphans
    from trueup.upkeep.retention import Cleared
    from trueup.upkeep.simulate_arrivals import Fed

_ANSWERED: list[bool] = []
_FIRST_LINE, _BETWEEN_LINES = 30.0, 60.0  # seconds
out = Console(soft_wrap=False)
err = Console(stderr=True)

_COLOURS = {
    **dict.fromkeys(("promoted", "override", "healthy", "pass", "rollout_advanced", "rollout_resumed"), "green"),
    **dict.fromkeys(("rejected", "failed", "rolled_back", "decayed", "data_broken", "fail"), "red"),
    "beats the prior": "green",
    "worse": "red",
    **dict.fromkeys(
        (
            "not shown",
            "held",
            "refused",
            "pending",
            "rollout",
            "rollout_paused",
            "stale",
            "unusual",
            "skewed",
            "shifted",
            "unknown",
            "inconclusive",
        ),
        "yellow",
    ),
}


_JSON: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_timedelta="float", ser_json_inf_nan="null"))


def plain(value: Any) -> Any:
    """JSON values: NaN becomes null, a span its seconds. Raises ValueError for anything else."""
    return _JSON.dump_python(value, mode="json", by_alias=True, exclude_unset=True, fallback=lambda other: other.item())


def emit(as_json: bool, result: Any, show: Callable[[], None]) -> None:
    """Print a result: as one line of JSON, or as text."""
    if not as_json:
        return show()
    _ANSWERED.append(True)
    sys.stdout.write(json.dumps(plain(result), allow_nan=False) + "\n")


def begin() -> None:
    """Mark the begin of a command without output."""
    _ANSWERED.clear()


def answered() -> bool:
    """Whether the JSON result was printed, even if the run ended with an error later."""
    return bool(_ANSWERED)


def error(problem: TrueupError) -> None:
    """Print an error on stderr."""
    # Arguments may contain invalid text, which a console that cannot write it keeps for its next line.
    text = str(problem).encode("utf-8", "backslashreplace").decode()
    err.print(f"[bold red]trueup:[/] {escape(text)}", highlight=False, soft_wrap=True)


def word(text: str) -> str:
    """A status word in its colour."""
    return f"[{_COLOURS[text]}]{text}[/]" if text in _COLOURS else text


def about(seconds: float) -> str:
    """An estimated span of time, rounded.

    >>> about(38), about(130), about(0.4), about(7_000)
    ('about 40 s', 'about 2 min', 'about 1 s', 'about 2 h')
    """
    if seconds < 90:
        step = 5 if seconds >= 10 else 1
        return f"about {max(step * round(seconds / step), 1)} s"
    return f"about {round(seconds / 60)} min" if seconds < 5_400 else f"about {round(seconds / 3_600)} h"


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Sequence[str] = ()) -> Table:
    """A table; the columns in `figures` are right-aligned."""
    grid = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in columns:
        grid.add_column(
            name, justify="right" if name in figures else "left", no_wrap=name in figures, min_width=len(name)
        )
    for row in rows:
        grid.add_row(*row)
    return grid


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


def say(text: str) -> None:
    """Print a line without wrapping."""
    out.print(text, highlight=False, soft_wrap=True)


def then(command: str) -> None:
    """Print the next command."""
    say(f"next: {command}")


def served(done: Drained) -> None:
    """Print what became of the predictions of `trueup serve`."""
    say(f"  served: {done.records:,} records in the log, {done.new:,} new predictions")
    lines(done.words)


def forgotten(done: Forgotten) -> None:
    """Print what was erased."""
    say(
        f"erased {done.records:,} records of the prediction log and {done.features:,} rows of served features "
        f"(entry {done.sequence} of the ledger)"
    )
    then(f"trueup ledger show {done.model}")


def scored(done: Scored, indent: str = "") -> None:
    """Print the number of predictions."""
    by = f"by version {done.version}" if done.version else ""
    out.print(f"{indent}scored {done.new:,} new of {done.total:,} rows {by} {done.note}".rstrip())


def observation(done: Observed, indent: str = "") -> None:
    """Print a diagnosis and its reasons."""
    out.print(f"{indent}diagnosis {done.window}: {word(done.diagnosis)}")
    lines(done.reasons)


def decision(done: Decided, indent: str = "") -> None:
    """Print a decision, its verdicts, and its place."""
    which = f" version {done.version}" if done.version else ""
    where = f" (ledger entry {done.sequence})" if done.sequence else ""
    out.print(f"{indent}decision: {word(done.outcome)}{which}{where}")
    lines(done.reasons)


def lines(reasons: Sequence[str]) -> None:
    """Print remarks, each on an indented line."""
    for reason in reasons:
        say(f"    {escape(reason)}")


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


def demo(result: Demo) -> None:
    """Print the table of the demo, and further paths."""
    rows = [
        [
            m.month,
            f"{m.rows:,}",
            f"{m.quarantined:,}",
            "–" if m.late_rate is None else f"{m.late_rate:.1%}",
            "–" if m.champion is None else f"v{m.champion} {number(m.champion_age_days, 0)}d",
            number(m.log_loss),
            number(m.log_loss_frozen),
            number(m.auc),
            number(m.auc_frozen),
            word(m.diagnosis),
            word(m.decision),
        ]
        for m in result.months
    ]
    figures = ["rows", "quar.", "late", "served", "loss", "kept", "AUC", "kept "]
    columns = ["month", *figures, "diagnosis", "decision"]  # 80 characters wide, as a plain terminal is
    out.print(table(columns, rows, figures))
    out.print(
        "[dim]quar.: rows in quarantine; late: share of late flights;\n"
        "served: the champion's version and its age in days; loss: realised log-loss;\n"
        "kept: the same of the first champion, had it been kept[/]\n"
    )
    for m in result.months:
        out.print(f"{m.month} {word(m.decision)}: {m.reasons[0] if m.reasons else ''}", highlight=False)
    mean = result.mean
    out.print(
        f"\nmean from March: log-loss [bold]{number(mean['log_loss'], 4)}[/] "
        f"(frozen in February {number(mean['log_loss_frozen'], 4)}), "
        f"AUC [bold]{number(mean['auc'], 4)}[/] (frozen {number(mean['auc_frozen'], 4)}); {result.seconds:.0f} s\n"
    )
    for name, place in result.paths.items():
        say(f"{name.replace('_', ' '):<16} {place}")


@contextmanager
def progress(what: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr with the remaining time; without a terminal, a line now and then."""
    if not err.is_terminal:
        yield _now_and_then(what)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share: bar.update(task, completed=share)


def _interval(p: Mapping[str, Any]) -> str:
    return "–" if p["loss_low"] is None else f"{number(p['loss_low'], 4)}..{number(p['loss_high'], 4)}"


def _now_and_then(what: str) -> Callable[[float], None]:
    """Log the progress on stderr: first after half a minute, then at most once a minute."""
    began = time.monotonic()
    due = [began + _FIRST_LINE]

    def report(share: float) -> None:
        now = time.monotonic()
        if now >= due[0]:
            due[0] = now + _BETWEEN_LINES
            left = f", {about((now - began) * (1 - share) / share)} left" if share > 0 else ""
            err.print(f"{what}: {share:.0%} after {about(now - began)}{left}", highlight=False, soft_wrap=True)

    return report


def replayed(facts: Mapping[str, Any], page: Path, written: Path | None) -> None:
    """Print the loss and cost of each policy, and the recommendation."""
    rows = [
        [
            p["name"] + (" ◄" if p["name"] == facts["recommended"] else ""),
            number(p["loss"], 4),
            _interval(p),
            *map(str, (p["retrains"], p["promotions"], p["refusals"])),
            f"{p['cost_s']:.0f} s" + (f" {p['cost_money']:.2f} {facts['currency']}" if "cost_money" in p else ""),
            "yes" if p["dominated"] else "",
        ]
        for p in sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"]))
    ]
    rows += [[p["name"], number(p["loss"], 4), _interval(p), "", "", "", "", "to be beaten"] for p in facts["to_beat"]]
    figures = ["loss", "interval", "tried", "taken", "rejected", "cost"]
    out.print(table(["policy", *figures, "dominated"], rows, figures))
    judged = facts["judged"]
    out.print(
        f"[dim]loss: {facts['loss']} on the same {judged['rows']:,} rows of {judged['batches']} batches, {judged['from'][:10]} to "
        f"{judged['to'][:10]};\ntried, taken, rejected: challengers after the first champion; cost: searching and fitting them;\n"
        f"dominated: another loses less for less; the oracle, which always serves the better of what is at hand: "
        f"{number(facts['oracle']['loss'], 4)}[/]\n"
    )
    out.print(facts["why"], highlight=False, markup=False)
    out.print("\n" + facts["block"], highlight=False, markup=False)
    for warning in facts["warnings"]:
        out.print(warning, style="yellow", highlight=False, markup=False)
    if written is not None:
        say(f"written {written}")
    say(f"report  {page}")
