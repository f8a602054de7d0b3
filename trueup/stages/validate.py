"""Validate: check a landed batch, send failing rows to quarantine, and say whether the batch may be used."""

from __future__ import annotations

from datetime import datetime

from trueup.adapters.great_expectations.validation import check
from trueup.domain.data.types import Batch
from trueup.handoffs import Checked
from trueup.model import VALIDATE, Model, checked_from, rules
from trueup.reporting.jobs import show_validation
from trueup.stages.config_problems import require_sound


def validate(model: Model, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch once by the rules in force; asked again, give the recorded answer."""
    known = model.validated(batch)
    if known is not None:
        return known
    require_sound(model.config, model.home.configs, with_expectations=True)
    result = check(model.home.store.read(batch.rows), model.config, batch.rows.facts)
    model.home.store.quarantine(batch.rows, result.row_failures)
    body = {
        "status": result.verdict.status.value,
        "reasons": list(result.verdict.reasons),
        "quarantined": result.quarantined,
        "judgement": model.home.store.judgement(batch.rows),
        "warnings": list(result.warnings),
        "checks": list(result.checks),
    }
    kept = model.home.store.record(
        model.config.model, VALIDATE, batch.window, batch.rows.revision, as_of, body, rules(model.config)
    )
    show_validation(model, batch, as_of, result)
    return checked_from(batch, kept)
