"""Validate: check a landed batch, send failing rows to quarantine, and say whether the batch may be used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from trueup.adapters.expectations import check
from trueup.config.schema import ModelConfig
from trueup.domain.types import Batch, Status
from trueup.stages.ingest import batches
from trueup.stages.ports import Ports
from trueup.stages.references import Checked
from trueup.stages.report import show_validation


def validate(config: ModelConfig, ports: Ports, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch once; asked again, give the recorded answer."""
    known = recorded(config, ports, batch)
    if known is not None:
        return known
    result = check(ports.store.read(batch.rows), config, batch.rows.facts)
    if len(result.row_failures):
        ports.store.quarantine(batch.rows, result.row_failures)
    body = {
        "status": result.verdict.status.value,
        "reasons": list(result.verdict.reasons),
        "quarantined": result.quarantined,
        "warnings": list(result.warnings),
        "checks": list(result.checks),
    }
    kept = ports.store.record(config.model, "validate", batch.window, batch.rows.revision, as_of, body)
    show_validation(config, ports, batch, as_of, result)
    return _checked(batch, kept)


def recorded(config: ModelConfig, ports: Ports, batch: Batch) -> Checked | None:
    """The recorded answer for this revision, or None."""
    found = ports.store.results(config.model, "validate", batch.window)
    return next((_checked(batch, r.body) for r in found if r.revision == batch.rows.revision), None)


def usable_batches(config: ModelConfig, ports: Ports, as_of: datetime) -> list[Batch]:
    """Validated batches that are not broken, in time order."""
    status = {(r.window, r.revision): r.body["status"] for r in ports.store.results(config.model, "validate")}
    landed = batches(config, ports, as_of)
    return [b for b in landed if status.get((b.window, b.rows.revision), Status.FAIL) != Status.FAIL]


def _checked(batch: Batch, body: dict[str, Any]) -> Checked:
    return Checked(batch, Status(body["status"]), tuple(body["reasons"]), body["quarantined"], tuple(body["warnings"]))
