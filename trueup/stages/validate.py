"""Validate: checks a landed batch, sends failing rows to quarantine, and decides whether the batch may be used."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from trueup.adapters.great_expectations.checks import CheckResult
from trueup.adapters.great_expectations.validation import check
from trueup.domain.types import Batch
from trueup.handoffs import Checked, Validated
from trueup.model import VALIDATE, Model, checked_from, rules
from trueup.reporting.jobs import show_validation
from trueup.stages.config_problems import require_sound


@dataclass(frozen=True)
class ValidatedInFull(Validated):
    """A validation with the result of each of its checks."""

    checks: tuple[CheckResult, ...]


def validate(model: Model, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch once by the current rules. A repeated call returns the stored result."""
    earlier = model.validated(batch)
    if earlier is not None:
        return earlier
    require_sound(model.config, model.home.configs, with_expectations=True)
    result = check(model.home.store.landed_rows(batch.rows), model.config, batch.rows.facts)
    model.home.store.quarantine(batch.rows, result.row_failures)
    recorded = model.home.store.record(
        model.config.model,
        VALIDATE,
        batch.window,
        batch.rows.revision,
        as_of,
        ValidatedInFull(
            result.verdict.status,
            result.verdict.reasons,
            result.quarantined,
            model.home.store.judgement(batch.rows),
            result.warnings,
            result.checks,
        ),
        rules(model.config),
    )
    show_validation(model, batch, as_of, result)
    return checked_from(batch, recorded)
