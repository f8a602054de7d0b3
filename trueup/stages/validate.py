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
from trueup.model import Model
from trueup.reporting.jobs import show_validation
from trueup.stages.config_problems import require_sound
from trueup.stages.ingest import batches

STAGE = "validate"
_BRIEF = ("status", "reasons", "quarantined", "judgement", "warnings")


def validate(model: Model, batch: Batch, as_of: datetime) -> Checked:
    """Check a batch once by the rules in force; asked again, give the recorded answer."""
    known = recorded(model, batch)
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
        model.config.model, STAGE, batch.window, batch.rows.revision, as_of, body, rules(model.config)
    )
    show_validation(model, batch, as_of, result)
    return _checked(batch, kept)


def rules(config: ModelConfig) -> str:
    """Name what a batch is judged by: expectations, and the columns that must be there and hold numbers."""
    judged_by = [config.validation.model_dump(mode="json"), config.input_columns, config.numeric_columns]
    return digest_of(judged_by)[:32]


def recorded(model: Model, batch: Batch) -> Checked | None:
    """The recorded answer for this revision by the rules in force, or None."""
    return judged(model, [batch]).get(batch.window)


def judged(model: Model, landed: list[Batch]) -> dict[Window, Checked]:
    """The recorded answers for those batches that were judged by the rules in force, and by no others since."""
    found = _brief(model, landed[0].window if len(landed) == 1 else None)
    of_batch = {b.window: (b, found.get((b.window, b.rows.revision))) for b in landed}
    return {
        window: _checked(batch, body)
        for window, (batch, body) in of_batch.items()
        if body is not None and body["judgement"] == model.home.store.judgement(batch.rows)
    }


def answers(model: Model, window: Window | None = None) -> dict[tuple[Window, int], Any]:
    """The newest answer for each revision by the rules in force."""
    return _newest(model.config, model.home.store.results(model.config.model, STAGE, window))


def _brief(model: Model, window: Window | None = None) -> dict[tuple[Window, int], Any]:
    """The same without what became of each check, which is long."""
    return _newest(model.config, model.home.store.brief_results(model.config.model, STAGE, _BRIEF, window))


def _newest(config: ModelConfig, found: list[Result]) -> dict[tuple[Window, int], Any]:
    named = rules(config)
    return {(r.window, r.revision): r.body for r in found if r.basis == named}


def usable_batches(model: Model, as_of: datetime) -> list[Batch]:
    """Validated batches that are not broken, in time order."""
    found = _brief(model)
    return [
        b
        for b in batches(model, as_of)
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
