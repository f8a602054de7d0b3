"""What stands now: champion, age, last diagnosis, open approvals, probation, last decisions; and who served when."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from trueup.domain.monitoring.result import Look
from trueup.governance import probation
from trueup.governance.approval import expires_at, undecided
from trueup.home import Home
from trueup.ledger.entries import Entry
from trueup.model import MONITOR, Model


def overview(model: Model, last: int = 3) -> dict[str, Any]:
    """One model's state, as plain values. Nothing is written: what is too late, or disagrees, is for the next run to set right."""
    current = model.champion()
    agrees = (
        None if current is None else model.home.registry.alias_agrees(model.config.registered_name, current.version)
    )
    newest = model.home.store.last_result(model.config.model, MONITOR, Look)
    age = None if current is None or newest is None else (newest.as_of - current.trained_until) / timedelta(days=1)
    return {
        "model": model.config.model,
        "about": model.config.about,
        "champion": current.version if current else None,
        "champion_age_days": None if age is None else round(age, 1),
        "trained_until": current.trained_until.isoformat() if current else None,
        "alias_agrees": agrees,
        "last_batch": str(newest.window) if newest else None,
        "diagnosis": newest.body.diagnosis if newest else None,
        "reasons": newest.body.reasons if newest else [],
        "approvals": approvals(model),
        "probation": None if current is None else probation.standing(model, current),
        "decisions": decisions(model.home, model.config.model, last),
    }


def approvals(model: Model) -> list[dict[str, Any]]:
    """Challengers that wait for a person and can still be decided, oldest first, as plain values."""
    return [
        {
            "id": e.seq,
            "version": e.body["model"]["version"],
            "age_hours": round((model.home.now() - e.recorded_at) / timedelta(hours=1), 1),
            "expires_at": expires_at(e),
            "reasons": e.body["reasons"],
        }
        for e, late in undecided(model)
        if late is None
    ]


def standing_at(model: Model, at: datetime) -> dict[str, Any]:
    """What served at a moment of the model's own clock, and why, as plain values; from the ledger alone.

    `until` is None for the version that is in office still, and `champion` is None before the first promotion.
    """
    found = model.home.ledger.champion_at(model.config.model, at)
    if found is None:
        return {"model": model.config.model, "at": at, "champion": None}
    after, body = model.home.ledger.champion(model.config.model, found.epoch + 1), found.entry.body
    return {
        "model": model.config.model,
        "at": at,
        "champion": found.version,
        "epoch": found.epoch,
        "manifest_digest": found.manifest_digest,
        "since": found.entry.as_of,
        "until": after.entry.as_of if after else None,
        "trained": {name: body["model"][name] for name in ("trained_from", "trained_until", "rows", "data_digest")},
        "judged_on": body["gate"],
        "approver": body.get("approver"),
        "decision": _decision(found.entry),
    }


def decisions(home: Home, model: str | None, last: int) -> list[dict[str, Any]]:
    """The newest decisions, newest first, as plain values."""
    return [_decision(entry) for entry in reversed(home.ledger.entries(model, limit=last))]


def _decision(entry: Entry) -> dict[str, Any]:
    return {
        "sequence": entry.seq,
        "recorded_at": entry.recorded_at,
        "model": entry.model,
        "as_of": entry.as_of,
        "outcome": entry.kind,
        "reason": entry.body["trigger"]["reason"],
        "version": (entry.body.get("model") or {}).get("version"),
        "reasons": entry.body["reasons"],
        "hash": entry.hash,
    }
