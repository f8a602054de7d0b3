"""What the ledger says of one registered version."""

from __future__ import annotations

from typing import Any

from trueup.ledger.entries import Entry
from trueup.model import Model


def judging_entry(model: Model, version: int) -> Entry | None:
    """The entry in which a version was judged; None for one that the ledger knows nothing about."""
    found = (e for e in model.home.ledger.entries(model.config.model) if e.kind not in {"rolled_back", "override"})
    return next((e for e in found if version in versions_of(e)), None)


def versions_of(entry: Entry) -> set[int]:
    """The versions that an entry is about: the one to serve, and the one that was judged where that is another."""
    return {part["version"] for name in ("model", "judged") if (part := entry.body.get(name))}


def part_about(entry: Entry, version: int) -> dict[str, Any]:
    """What an entry says of one version's files and rows. Of a judged one whose refit serves the first records say little."""
    found: dict[str, Any] = entry.body["model" if version == entry.body["model"]["version"] else "judged"]
    return found
