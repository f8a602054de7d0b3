"""Queries of the ledger about one registered version."""

from __future__ import annotations

from typing import Final

from trueup.config.sections.features import FeaturesConfig
from trueup.ledger.entries import Entry
from trueup.ledger.record import Made
from trueup.model import Model

RECEIPT: Final = "receipt"  # the kind of an entry about what another home decided


def judging_entry(model: Model, version: int) -> Entry | None:
    """The entry in which a version was judged; None for a version that the ledger does not know."""
    entries = (e for e in model.home.ledger.entries(model.config.model) if e.kind not in {"rolled_back", "override"})
    return next((e for e in entries if version in versions_of(e)), None)


def versions_of(entry: Entry) -> set[int]:
    """The versions that an entry is about: the one to serve, and the one that was judged where that is another."""
    return {part.version for part in (entry.body.model, entry.body.judged) if part}


def part_about(entry: Entry, version: int) -> Made:
    """The part of an entry that describes one version."""
    body = entry.challenge
    return body.model if version == body.model.version else body.judged


def trained_on(entry: Entry) -> FeaturesConfig:
    """The features that the versions of an entry were trained on."""
    return FeaturesConfig.model_validate(entry.challenge.model.features)
