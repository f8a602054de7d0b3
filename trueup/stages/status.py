"""What stands now: champion, age, last diagnosis, open approvals, probation, last decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from trueup.config.schema import ModelConfig
from trueup.stages.approval import expires_at, open_approvals, upkeep
from trueup.stages.champion import champion
from trueup.stages.ports import Ports
from trueup.stages.probation import standing as probation


def overview(config: ModelConfig, ports: Ports, last: int = 3) -> dict[str, Any]:
    """One model's state, as plain values.

    An approval that is too late is closed by this look, and an alias that disagrees is told and then set right.
    """
    current = champion(config, ports)
    agrees = None if current is None else ports.registry.alias_agrees(config.registered_name, current.version)
    upkeep(config, ports)
    watched = ports.store.results(config.model, "monitor")
    newest = watched[-1] if watched else None
    age = None if current is None or newest is None else (newest.as_of - current.trained_until) / timedelta(days=1)
    return {
        "model": config.model,
        "about": config.about,
        "champion": current.version if current else None,
        "champion_age_days": None if age is None else round(age, 1),
        "trained_until": current.trained_until.isoformat() if current else None,
        "alias_agrees": agrees,
        "last_batch": str(newest.window) if newest else None,
        "diagnosis": newest.body["diagnosis"] if newest else None,
        "reasons": newest.body["reasons"] if newest else [],
        "approvals": approvals(config, ports),
        "probation": None if current is None else probation(config, ports, current),
        "decisions": decisions(ports, config.model, last),
    }


def approvals(config: ModelConfig, ports: Ports) -> list[dict[str, Any]]:
    """Challengers that wait for a person, oldest first, as plain values."""
    return [
        {
            "id": e.seq,
            "version": e.body["model"]["version"],
            "age_hours": round((ports.now() - e.recorded_at) / timedelta(hours=1), 1),
            "expires_at": expires_at(e),
            "reasons": e.body["reasons"],
        }
        for e in open_approvals(config, ports)
    ]


def decisions(ports: Ports, model: str | None, last: int) -> list[dict[str, Any]]:
    """The newest decisions, newest first, as plain values."""
    return [
        {
            "sequence": e.seq,
            "recorded_at": e.recorded_at,
            "model": e.model,
            "as_of": e.as_of,
            "outcome": e.kind,
            "reason": e.body["trigger"]["reason"],
            "version": (e.body.get("model") or {}).get("version"),
            "reasons": e.body["reasons"],
            "hash": e.hash,
        }
        for e in reversed(ports.ledger.entries(model, limit=last))
    ]
