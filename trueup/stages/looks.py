"""What the champion's looks at its batches come to: which of them decides."""

from __future__ import annotations

from datetime import datetime

from trueup.adapters.store.results import Result
from trueup.domain.monitoring.diagnosis import DATA_BROKEN, UNKNOWN
from trueup.governance.champion import champion
from trueup.model import Model

STAGE = "monitor"
SILENT = frozenset({UNKNOWN, DATA_BROKEN})  # diagnoses that say nothing of the champion


def decisive_look(model: Model, as_of: datetime) -> tuple[Result | None, datetime]:
    """The champion's newest look, up to a moment, at the batch that decides, and the moment of its first look there.

    A corrected batch is another.
    """
    current = champion(model)
    found = [] if current is None else model.home.store.results(model.config.model, STAGE)
    looks = [r for r in found if current is not None and r.body["champion"] == current.version and r.as_of <= as_of]
    told = [r for r in looks if r.body["diagnosis"] not in SILENT] or looks
    if not told:
        return None, as_of
    decisive = max(told, key=lambda r: (r.window, r.as_of))
    about = (decisive.window, decisive.revision)
    return decisive, min(r.as_of for r in looks if (r.window, r.revision) == about)
