"""Scores a batch of a model that servers answer for, too: the first prediction of a row counts."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from trueup.handoffs import Checked, Drained, Scored
from trueup.model import Model
from trueup.online.drain import drain
from trueup.stages.score import score_batch


def score(model: Model, checked: Checked, as_of: datetime) -> Scored:
    """Score a batch. What servers answered while it was predicted is stored first, so that it counts."""
    drained = Drained()

    def store_served() -> None:
        nonlocal drained
        if model.config.serve is not None:
            drained = drain(model)

    done = score_batch(model, checked, as_of, store_served)
    return replace(done, drained=drained) if drained.records else done
