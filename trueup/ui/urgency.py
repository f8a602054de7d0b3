"""The order of the fleet's page: what needs a person first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from trueup.domain.monitoring.diagnosis import (
    DATA_BROKEN,
    DECAYED,
    ESTIMATED_DECAY,
    SHIFTED,
    SKEWED,
    STALE,
    UNKNOWN,
    UNUSUAL,
)

NEW: Final = "new"  # a champion without a batch
ORDER: Final = (
    "approval",
    "stopped",
    "config",
    DATA_BROKEN,
    DECAYED,
    "missing",
    "estimate_off",
    ESTIMATED_DECAY,
    UNUSUAL,
    SKEWED,
    STALE,
    SHIFTED,
    UNKNOWN,
    NEW,
    "none",
)
_WORDS: Final = {
    "approval": "waits for approval",
    "stopped": "retrains stopped",
    "config": "config has mistakes",
    DATA_BROKEN: "data broken",
    DECAYED: "decayed",
    "missing": "batch missing",
    "estimate_off": "estimate was off",
    ESTIMATED_DECAY: "estimated decay",
    UNUSUAL: "unusual data",
    SKEWED: "skewed",
    STALE: "stale",
    SHIFTED: "inputs shifted",
    UNKNOWN: "not judged yet",
    NEW: "new champion",
    "healthy": "healthy",
    "none": "healthy",
}
_TONES: Final = {
    **dict.fromkeys(("approval", "stopped", "config", DATA_BROKEN, DECAYED), "bad"),
    **dict.fromkeys(("missing", "estimate_off", ESTIMATED_DECAY, UNUSUAL, SKEWED), "warn"),
    **dict.fromkeys((STALE, SHIFTED), "note"),
    **dict.fromkeys((UNKNOWN, NEW), "quiet"),
    "healthy": "good",
    "none": "good",
}


@dataclass(frozen=True)
class Signs:
    """What the rule depends on: the findings of the last batch, and what waits."""

    findings: Collection[str] = ()
    approvals: int = 0
    stopped: bool = False
    missing: bool = False
    estimate_off: bool = False
    config: bool = False  # its config cannot be read


def needs(signs: Signs) -> list[str]:
    """All that applies to a model, the most urgent first; `none` if nothing does.

    >>> needs(Signs(findings=["stale", "decayed"], approvals=1))
    ['approval', 'decayed', 'stale']
    >>> needs(Signs(findings=["healthy"]))
    ['none']
    """
    extra = {
        "approval": signs.approvals > 0,
        "stopped": signs.stopped,
        "missing": signs.missing,
        "estimate_off": signs.estimate_off,
        "config": signs.config,
    }
    applies = {name for name, holds in extra.items() if holds} | set(signs.findings)
    return [name for name in ORDER if name in applies] or ["none"]


def rank(signs: Signs) -> int:
    """The place of a model in the order: a smaller one comes first."""
    return ORDER.index(needs(signs)[0])


def words(need: str) -> str:
    """A need or a diagnosis in words."""
    return _WORDS.get(need, need.replace("_", " "))


def tone(need: str) -> str:
    """The colour of a need: bad, warn, note, quiet or good."""
    return _TONES.get(need, "quiet")
