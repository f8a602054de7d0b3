"""What stands now: champion, age, last diagnosis, last decisions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from trueup.config.schema import ModelConfig
from trueup.stages.champion import champion
from trueup.stages.ports import Ports


def overview(config: ModelConfig, ports: Ports, last: int = 3) -> dict[str, Any]:
    """One model's state, as plain values."""
    current = champion(config, ports)
    watched = ports.store.results(config.model, "monitor")
    newest = watched[-1] if watched else None
    age = None if current is None or newest is None else (newest.as_of - current.trained_until) / timedelta(days=1)
    return {
        "model": config.model,
        "about": config.about,
        "champion": current.version if current else None,
        "champion_age_days": None if age is None else round(age, 1),
        "trained_until": current.trained_until.isoformat() if current else None,
        "alias_agrees": None
        if current is None
        else ports.registry.alias_agrees(config.registered_name, current.version),
        "last_batch": str(newest.window) if newest else None,
        "diagnosis": newest.body["diagnosis"] if newest else None,
        "reasons": newest.body["reasons"] if newest else [],
        "decisions": decisions(ports, config.model, last),
    }


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
