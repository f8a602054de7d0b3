"""Validate: check a landed batch, send failing rows to quarantine, and say whether the batch may be used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trueup.adapters.great_expectations.validation import check
from trueup.adapters.store.results import Result
from trueup.config.schema import ModelConfig
from trueup.domain.data.digest import digest_of
from trueup.domain.data.labels import oddities
from trueup.domain.data.types import Batch, Status, Window
from trueup.handoffs import Checked
from trueup.home import Ports
from trueup.reporting.jobs import show_validation
from trueup.stages.config_problems import require_sound
from trueup.stages.ingest import batches

STAGE = "validate"
_BRIEF = ("status", "reasons", "quarantined", "judgement", "warnings")


def validate(config: ModelConfig, ports: Ports, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch once by the rules in force; asked again, give the recorded answer."""
    known = recorded(config, ports, batch)
    if known is not None:
        return known
    require_sound(config, ports.configs, with_expectations=True)
    result = check(ports.store.read(batch.rows), config, batch.rows.facts)
    ports.store.quarantine(batch.rows, result.row_failures)
    body = {
        "status": result.verdict.status.value,
        "reasons": list(result.verdict.reasons),
        "quarantined": result.quarantined,
        "judgement": ports.store.judgement(batch.rows),
        "warnings": list(result.warnings),
        "checks": list(result.checks),
    }
    kept = ports.store.record(config.model, STAGE, batch.window, batch.rows.revision, as_of, body, rules(config))
    show_validation(config, ports, batch, as_of, result)
    return _checked(batch, kept)


def rules(config: ModelConfig) -> str:
    """Name what a batch is judged by: expectations, and the columns that must be there and hold numbers."""
    judged_by = [config.validation.model_dump(mode="json"), config.input_columns, config.numeric_columns]
    return digest_of(judged_by)[:32]


def recorded(config: ModelConfig, ports: Ports, batch: Batch) -> Checked | None:
    """The recorded answer for this revision by the rules in force, or None."""
    return judged(config, ports, [batch]).get(batch.window)


def judged(config: ModelConfig, ports: Ports, landed: list[Batch]) -> dict[Window, Checked]:
    """The recorded answers for those batches that were judged by the rules in force, and by no others since."""
    found = _brief(config, ports, landed[0].window if len(landed) == 1 else None)
    of_batch = {b.window: (b, found.get((b.window, b.rows.revision))) for b in landed}
    return {
        window: _checked(batch, body)
        for window, (batch, body) in of_batch.items()
        if body is not None and body["judgement"] == ports.store.judgement(batch.rows)
    }


def answers(config: ModelConfig, ports: Ports, window: Window | None = None) -> dict[tuple[Window, int], Any]:
    """The newest answer for each revision by the rules in force."""
    return _newest(config, ports.store.results(config.model, STAGE, window))


def _brief(config: ModelConfig, ports: Ports, window: Window | None = None) -> dict[tuple[Window, int], Any]:
    """The same without what became of each check, which is long."""
    return _newest(config, ports.store.brief_results(config.model, STAGE, _BRIEF, window))


def _newest(config: ModelConfig, found: list[Result]) -> dict[tuple[Window, int], Any]:
    named = rules(config)
    return {(r.window, r.revision): r.body for r in found if r.basis == named}


def usable_batches(config: ModelConfig, ports: Ports, as_of: datetime) -> list[Batch]:
    """Validated batches that are not broken, in time order."""
    found = _brief(config, ports)
    return [
        b
        for b in batches(config, ports, as_of)
        if (body := found.get((b.window, b.rows.revision))) is not None and body["status"] != Status.FAIL
    ]


def _checked(batch: Batch, body: dict[str, Any]) -> Checked:
    return Checked(
        batch,
        Status(body["status"]),
        tuple(body["reasons"]),
        body["quarantined"],
        (*body["warnings"], *oddities(batch.labels.facts)),
        f"{body['status']} {body['judgement'][:32]}".strip(),
    )
