"""How results look on a terminal, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from trueup.errors import TrueupError
from trueup.stages.references import Cycle, Decided, Observed, Scored

out = Console(soft_wrap=False)
err = Console(stderr=True)

_COLOURS = {
    **dict.fromkeys(("promoted", "healthy", "pass"), "green"),
    **dict.fromkeys(("rejected", "decayed", "data_broken", "fail"), "red"),
    **dict.fromkeys(("held", "stale", "shifted", "unknown", "inconclusive"), "yellow"),
}


def plain(value: Any) -> Any:
    """What JSON can hold: a figure that is not a number becomes null. Raises TypeError for what has no plain form."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(v) for v in value]
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} has no plain form")


def error(problem: TrueupError) -> None:
    """An error for people, on stderr."""
    err.print(f"[bold red]trueup:[/] {problem}", highlight=False, soft_wrap=True)


def word(text: str) -> str:
    """A status word in its colour."""
    return f"[{_COLOURS[text]}]{text}[/]" if text in _COLOURS else text


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], figures: Sequence[str] = ()) -> Table:
    """A table; the columns named in `figures` are set to the right."""
    grid = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 1), collapse_padding=True)
    for name in columns:
        grid.add_column(
            name, justify="right" if name in figures else "left", no_wrap=name in figures, min_width=len(name)
        )
    for row in rows:
        grid.add_row(*row)
    return grid


def cycle(done: Cycle) -> None:
    """One turn of the loop."""
    out.print(f"[bold]{done.model}[/] as of {done.as_of:%Y-%m-%d %H:%M}")
    for checked, scored_, observed in zip(done.batches, done.scored, done.observed, strict=True):
        out.print(
            f"  batch {checked.batch.rows.name}: {checked.batch.rows.rows:,} rows, validation {word(checked.status.value)}, {checked.quarantined:,} in quarantine"
        )
        _lines(checked.reasons if not checked.usable else ())
        scored(scored_, indent="  ")
        observation(observed, indent="  ")
    for scored_ in done.released:
        out.print(f"  batch {scored_.window}: rows released from quarantine")
        scored(scored_, indent="  ")
    decision(done.decided, indent="  ")


def scored(done: Scored, indent: str = "") -> None:
    """What was predicted."""
    by = f"by version {done.version}" if done.version else ""
    out.print(f"{indent}scored {done.new:,} new of {done.total:,} rows {by} {done.note}".rstrip())


def observation(done: Observed, indent: str = "") -> None:
    """A diagnosis and its reasons."""
    out.print(f"{indent}diagnosis {done.window}: {word(done.diagnosis)}")
    _lines(done.reasons)


def decision(done: Decided, indent: str = "") -> None:
    """A decision, the verdicts it rests on, and where it stands."""
    which = f" version {done.version}" if done.version else ""
    where = f" (ledger entry {done.sequence})" if done.sequence else ""
    out.print(f"{indent}decision: {word(done.outcome)}{which}{where}")
    _lines(done.reasons)


def _lines(reasons: Sequence[str]) -> None:
    for reason in reasons:
        out.print(f"    {reason}", highlight=False)


def status(found: Sequence[Mapping[str, Any]]) -> None:
    """Each model's state."""
    for state in found:
        out.print(f"[bold]{state['model']}[/]  {state['about']}", highlight=False)
        if state["champion"] is None:
            out.print(f"  no champion yet; next: trueup run {state['model']}")
        else:
            age = state["champion_age_days"]
            out.print(
                f"  champion: version {state['champion']}, trained on data until {state['trained_until'][:16]}"
                + ("" if age is None else f" ({age:.0f} days old at the last look)")
            )
            if not state["alias_agrees"]:
                out.print("  [red]MLflow's alias names another version than the ledger[/]")
        if state["diagnosis"]:
            out.print(f"  last batch {state['last_batch']}: {word(state['diagnosis'])}")
            _lines(state["reasons"])
        for entry in state["decisions"]:
            out.print(f"  {_entry(entry)}")


def ledger(found: Sequence[Mapping[str, Any]]) -> None:
    """Decisions, newest first."""
    if not found:
        out.print("no decisions yet; next: trueup run MODEL")
    for entry in found:
        out.print(_entry(entry) + f"  [dim]{entry['hash'][:12]}[/]")
        _lines(entry["reasons"])


def _entry(entry: Mapping[str, Any]) -> str:
    which = f" version {entry['version']}" if entry["version"] else ""
    return f"#{entry['sequence']} {entry['as_of']:%Y-%m-%d} {entry['model']}: {word(entry['outcome'])}{which} ({entry['reason']})"


def checks(found: Sequence[Mapping[str, Any]]) -> None:
    """What is wrong with configs and sources."""
    for model in found:
        if model["problems"]:
            out.print(f"[bold]{model['model']}[/]: [red]{len(model['problems'])} to mend[/]")
            _lines(model["problems"])
        else:
            span = f"{model['first']:%Y-%m-%d %H:%M} to {model['last']:%Y-%m-%d %H:%M}"
            out.print(f"[bold]{model['model']}[/]: [green]fine[/]; data from {span}; next: trueup run {model['model']}")


def quarantine(found: Sequence[Mapping[str, Any]]) -> None:
    """Rows in quarantine."""
    if not found:
        out.print("nothing in quarantine")
        return
    columns = list(found[0])
    out.print(table(columns, [[str(row[c]) for c in columns] for row in found], figures=["row_id"]))


def demo(result: Mapping[str, Any]) -> None:
    """The table of the demo, and where to look further."""
    rows = [
        [
            m["month"],
            f"{m['rows']:,}",
            f"{m['quarantined']:,}",
            "–" if m["late_rate"] is None else f"{m['late_rate']:.1%}",
            "–" if m["champion"] is None else f"v{m['champion']} {number(m['champion_age_days'], 0)}d",
            number(m["log_loss"]),
            number(m["log_loss_frozen"]),
            number(m["auc"]),
            number(m["auc_frozen"]),
            word(m["diagnosis"]),
            word(m["decision"]),
        ]
        for m in result["months"]
    ]
    figures = ["rows", "quar.", "late", "served", "loss", "kept", "AUC", "kept "]
    columns = ["month", *figures, "diagnosis", "decision"]  # 80 characters wide, as a plain terminal is
    out.print(table(columns, rows, figures))
    out.print(
        "[dim]quar.: rows in quarantine; late: share of late flights;\n"
        "served: the champion's version and its age in days; loss: realised log-loss;\n"
        "kept: the same of the first champion, had it been kept[/]\n"
    )
    for m in result["months"]:
        out.print(f"{m['month']} {word(m['decision'])}: {m['reasons'][0] if m['reasons'] else ''}", highlight=False)
    mean = result["mean"]
    out.print(
        f"\nmean from March: log-loss [bold]{number(mean['log_loss'], 4)}[/] "
        f"(frozen in February {number(mean['log_loss_frozen'], 4)}), "
        f"AUC [bold]{number(mean['auc'], 4)}[/] (frozen {number(mean['auc_frozen'], 4)}); {result['seconds']:.0f} s\n"
    )
    for name, place in result["paths"].items():
        out.print(f"{name.replace('_', ' '):<16} {place}", highlight=False, soft_wrap=True)
