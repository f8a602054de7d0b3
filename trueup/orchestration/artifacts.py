"""The artifacts of a flow run's page: short Markdown pages, each with a description for its card."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact

from trueup.config.schema import ModelConfig
from trueup.domain.judging.metrics import figure, loss_words
from trueup.domain.monitoring.drift import DriftResult
from trueup.domain.monitoring.effects import NAMED, signed
from trueup.domain.monitoring.estimates.words import words_of
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import Batch
from trueup.governance.approval import expires_at
from trueup.governance.status import DecisionSummary
from trueup.handoffs import Checked, Decided, Observed
from trueup.ledger.entries import Entry
from trueup.ledger.record import Evaluated
from trueup.model import Model
from trueup.online.rollout import RolloutStatus
from trueup.orchestration import links
from trueup.reporting.html import cell, units
from trueup.reporting.jobs import drift_page, validation_page

_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive"}
_ROLES = ("challenger", "champion", "prior", "simple")
_MOST_ROWS = 12  # rows of a table of columns; the rest is in the report


def show_validation(model: Model, batch: Batch, checked: Checked) -> None:  # noqa: ARG001  (as the stage)
    """A batch's validation: failures, and the number of rows in quarantine."""
    rows, mark = checked.batch.rows, _MARKS[checked.status.value]
    page = validation_page(model.home.root, model.config.model, checked.batch)
    lines = [
        f"- {rows.rows:,} rows, {checked.quarantined:,} in quarantine",
        *_items(checked.reasons),
        *_items([f"warning: {w}" for w in checked.warnings]),
        "",
        links.line([("Data Docs of this batch", links.address(model.home, page))]),
    ]
    _publish("validation", model.config.model, lines, f"{mark}: {rows.name}, {checked.quarantined:,} in quarantine")


def show_diagnosis(model: Model, checked: Checked, observed: Observed) -> None:
    """A batch's diagnosis, the champion's performance, and the columns that moved."""
    seen, pages = (
        observed.figures,
        [("Data Docs of this batch", validation_page(model.home.root, model.config.model, checked.batch))],
    )
    if seen.drift is not None:
        pages.insert(0, ("Drift report", drift_page(model.home.root, model.config.model, observed.window)))
    lines = [
        *_items(observed.reasons),
        *_items(_performance(model.config, seen)),
        *_drift(seen.drift),
        "",
        links.line([(name, links.address(model.home, page)) for name, page in pages]),
    ]
    _publish("diagnosis", model.config.model, lines, f"{observed.diagnosis}: {observed.window}")


def show_decision(model: Model, decided: Decided) -> None:
    """The ledger's record of a decision, if there was one."""
    entry = model.home.ledger.entry(decided.sequence) if decided.sequence is not None else None
    if entry is None:
        return
    fitted = entry.body.model
    title = entry.kind.replace("_", " ") + (f": version {fitted.version}" if fitted else "")
    lines = [_circumstances(entry), "", *_items(_beside_verdicts(entry)), *_evidence(model.config, entry)]
    if fitted:
        lines += ["", links.line(links.of_model(model, fitted))]
    _publish("decision", model.config.model, lines, f"{title}, ledger entry {entry.seq}")


def show_approval(model: Model, entry: Entry) -> None:
    """A challenger that waits for a person: how to decide, and its results on the gate rows."""
    body = entry.challenge
    lines = [
        f"Resume this run, or `trueup approve {entry.seq} --by NAME`, or "
        f"`trueup reject {entry.seq} --by NAME --why TEXT`.",
        "",
        _circumstances(entry),
        *_evidence(model.config, entry),
        "",
        links.line(links.of_model(model, body.model)),
    ]
    if body.previous and body.approval and (picture := links.picture(model, body.approval.run_id)) is not None:
        lines += ["", f"![Challenger against champion]({picture})"]
    about = f"version {body.version} waits until {expires_at(entry):%Y-%m-%d %H:%M} UTC"
    _publish("approval", model.config.model, lines, about)


def show_rollout(shown: RolloutStatus, decided: DecisionSummary) -> None:
    """What a person decided about a rollout, and its figures at that moment."""
    lines = [
        *_items(decided.reasons),
        "",
        f"{shown.phase}, step {shown.step} of {shown.steps}; until {shown.deadline:%Y-%m-%d %H:%M} UTC",
        "",
        "| test | verdict | figures |",
        "|---|---|---|",
        *(f"| {v.check} | {_MARKS[v.status.value]} | {_plain('; '.join(v.reasons))} |" for v in shown.verdicts),
        "",
        *_items(shown.reasons),
    ]
    about = f"{decided.outcome.replace('_', ' ')}: version {shown.version}, ledger entry {decided.sequence}"
    _publish("rollout", shown.model, lines, about)


def show_replay(model: Model, facts: Mapping[str, Any], page: Path) -> None:
    """The result of a replay: the table, the recommendation, and its report."""
    table = [f"| policy | {facts['loss']} | tried | taken | rejected | training, s |", "|---|---|---|---|---|---|"]
    for p in sorted(facts["policies"], key=lambda p: (p["cost_s"], p["loss"])):
        figures = (p["retrains"], p["promotions"], p["refusals"], f"{p['cost_s']:.0f}")
        table.append(f"| {_plain(p['name'])} | {cell(p['loss'])} | {' | '.join(map(str, figures))} |")
    lines = [facts["why"], "", *table, "", "```yaml", facts["block"].rstrip(), "```", ""]
    lines += [*_items(facts["warnings"]), "", links.line([("Report of the replay", links.address(model.home, page))])]
    _publish("replay", model.config.model, lines, f"recommended: {facts['recommended']}")


def _publish(kind: str, model: str, lines: Sequence[str], about: str) -> None:
    """Store it under a key of its kind and model, so that the UI shows its history."""
    create_markdown_artifact("\n".join(lines), key=f"{kind}-{model}".replace("_", "-"), description=about)


def _circumstances(entry: Entry) -> str:
    """The reason, the time, and the replaced champion."""
    body = entry.body
    parts = [f"reason: {body.reason}", f"as of {entry.as_of:%Y-%m-%d %H:%M}", f"ledger entry {entry.seq}"]
    if body.model:
        before = body.previous
        parts.append(f"champion before: version {before.version}" if before else "the first champion")
    return " · ".join(parts)


def _beside_verdicts(entry: Entry) -> list[str]:
    """Reasons that are not of a verdict; the table has the others."""
    listed = {reason for verdict in entry.body.verdicts for reason in verdict.reasons}
    return [reason for reason in entry.body.reasons if reason not in listed]


def _evidence(config: ModelConfig, entry: Entry) -> Iterator[str]:
    """The verdicts, one line per reason because no cell is wrapped, and their metrics."""
    body = entry.body
    if not body.verdicts:
        return
    yield from ("", "| check | verdict | why |", "|---|---|---|")
    for verdict in body.checks:
        name, mark = verdict.check, _MARKS[verdict.status]
        for reason in verdict.reasons:
            yield f"| {name} | {mark} | {_plain(reason)} |"
            name = mark = ""
    yield from _metrics(config, body.evaluation)


def _metrics(config: ModelConfig, evaluation: Evaluated | None) -> Iterator[str]:
    roles = [r for r in _ROLES if evaluation and r in evaluation.metrics]
    if not evaluation or not roles:
        return
    head = f"on {evaluation.rows:,} gate rows"
    yield from ("", f"| {head} | {' | '.join(roles)} |", "|---" * (len(roles) + 1) + "|")
    measured_in = units(config.ingest.label.unit)
    for name in evaluation.names:
        yield (
            f"| {name}{measured_in.get(name, '')} | "
            + " | ".join(cell(evaluation.metrics[r][name]) for r in roles)
            + " |"
        )


def _performance(config: ModelConfig, seen: MonitoringResult) -> Iterator[str]:
    if seen.champion is None:
        return
    yield f"champion: version {seen.champion}, {seen.champion_age_days:.0f} days old"
    if seen.metrics:
        loss = seen.metrics[0]
        name, span = loss_words(config.task, config.ingest.label.unit), ""
        if loss.low is not None and loss.high is not None and loss.confidence is not None:
            span = f" ({100 * loss.confidence:.0f} % {cell(loss.low)} to {cell(loss.high)})"
        yield f"{name} {cell(loss.value)}{span} on {loss.n:,} labels"
    yield from words_of(seen.estimate)
    if seen.probation:
        yield f"probation: {'; '.join(seen.probation.reasons)}"


def _drift(drift: DriftResult | None) -> Iterator[str]:
    """Columns that moved, with score and limit; without any, the nearest one."""
    if drift is None:
        return
    checks = sorted(drift.checks, key=lambda c: abs(c.value) / c.limit if c.limit else 0.0, reverse=True)
    moved = [c for c in checks if c.drifted]
    columns = {c.column for c in checks}
    if drift.shifted is None or not checks:
        yield from ("", f"**Inputs**: {_plain(drift.reason)}")
        return
    sentence = (
        f"{len(drift.drifted)} of {len(columns)} columns moved" if moved else "no column moved; the nearest to it"
    )
    if drift.predictions is not None:
        sentence = f"{drift.predictions.words}. {sentence[0].upper()}{sentence[1:]}"
    yield from ("", f"**Inputs**: {_plain(sentence)}", "")
    if drift.effects:
        yield from ("| column | moves predictions by | part of their change |", "|---|---|---|")
        for effect in drift.effects[:NAMED]:
            yield f"| {_plain(effect.column)} | {signed(effect.effect)} | {effect.share:.0%} |"
        yield ""
        by_column = {effect.column: abs(effect.effect) for effect in drift.effects}
        moved = sorted(moved, key=lambda c: by_column.get(c.column, 0.0), reverse=True)
    together, season = drift.multivariate, drift.year_ago
    yield from (f"{_plain(each.words)}\n" for each in (together, season) if each is not None)
    yield from ("| column | measure | score | limit |", "|---|---|---|---|")
    for check in moved[:_MOST_ROWS] or checks[:1]:
        limit = "–" if check.limit is None else figure(check.limit, 3)
        yield f"| {_plain(check.column)} | {check.check} | {figure(check.value, 3)} | {limit} |"
    if len(moved) > _MOST_ROWS:
        yield from ("", f"and {len(moved) - _MOST_ROWS} more")


def _items(texts: Sequence[str] | Iterator[str]) -> list[str]:
    return [f"- {_plain(text)}" for text in texts]


def _plain(text: str) -> str:
    """Text without Markdown: reasons quote values of the data."""
    return re.sub(r"([\\`*_\[\]<>|!])", r"\\\1", text)
