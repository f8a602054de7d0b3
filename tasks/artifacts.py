"""What a flow run's page shows of its stages: small tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect.artifacts import create_markdown_artifact

from trueup.domain.types import Verdict
from trueup.ledger.entries import Entry
from trueup.stages.approval import decided, expires_at
from trueup.stages.references import Checked, Decided, Observed

_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive"}


def publish(kind: str, model: str, markdown: str, about: str) -> None:
    """Keep a Markdown artifact under a key of its kind and model, so that the UI shows its history."""
    create_markdown_artifact(markdown, key=f"{kind}-{model}".replace("_", "-"), description=about)


def of_validation(checked: Checked, reports: Sequence[tuple[str, Path]] = ()) -> str:
    """A batch's validation."""
    lines = [f"### Validation of {checked.batch.rows.name}: {_MARKS[checked.status.value]}", ""]
    lines += [f"- {reason}" for reason in (*checked.reasons, *checked.warnings)]
    lines.append(f"- {checked.batch.rows.rows:,} rows, {checked.quarantined:,} in quarantine")
    return "\n".join([*lines, *_links(reports)])


def of_diagnosis(observed: Observed, reports: Sequence[tuple[str, Path]] = ()) -> str:
    """A batch's diagnosis."""
    lines = [f"### {observed.window}: {observed.diagnosis}", "", *(f"- {reason}" for reason in observed.reasons)]
    return "\n".join([*lines, *_links(reports)])


def of_decision(decided: Decided, reports: Sequence[tuple[str, Path]] = ()) -> str:
    """A decision and the verdicts it rests on."""
    title = f"### {decided.outcome}" + (f": version {decided.version}" if decided.version else "")
    lines = [title, "", *(f"- {reason}" for reason in decided.reasons)]
    if decided.verdicts:
        lines += ["", "| check | verdict | why |", "|---|---|---|", *map(_row, decided.verdicts)]
    return "\n".join([*lines, *_links(reports)])


def of_approval(entry: Entry, reports: Sequence[tuple[str, Path]] = ()) -> str:
    """A challenger that waits for a person: what it would replace, and what it showed on the gate rows."""
    body = entry.body
    previous = f"version {body['previous']['version']}" if body["previous"] else "nothing: it would be the first"
    lines = [
        of_decision(decided(entry)),
        "",
        f"- it replaces {previous}, as of {entry.as_of:%Y-%m-%d %H:%M}",
        f"- decide until {expires_at(entry):%Y-%m-%d %H:%M} UTC: resume this run, or "
        f"`trueup approve {entry.seq} --by NAME`, or `trueup reject {entry.seq} --by NAME --why TEXT`",
        "",
        *_metrics(body["evaluation"]["metrics"]),
    ]
    return "\n".join([*lines, *_links(reports)])


def _metrics(found: dict[str, dict[str, float]]) -> list[str]:
    """A table with a column a model."""
    roles = [r for r in ("challenger", "champion", "prior", "simple") if r in found]
    if not roles:
        return []
    rows = [
        f"| {name} | " + " | ".join(f"{found[r].get(name, float('nan')):.4f}" for r in roles) + " |"
        for name in found[roles[0]]
    ]
    return ["| on the gate rows | " + " | ".join(roles) + " |", "|---" * (len(roles) + 1) + "|", *rows]


def _row(verdict: Verdict) -> str:
    why = "; ".join(verdict.reasons).replace("|", "\\|")
    return f"| {verdict.check} | {_MARKS[verdict.status.value]} | {why} |"


def _links(reports: Sequence[tuple[str, Path]]) -> list[str]:
    return ["", *(f"{name}: [{path}]({path.as_uri()})" for name, path in reports)] if reports else []
