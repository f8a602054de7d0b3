"""Rows in quarantine: list them, and take them back into use."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.errors import UsageError
from trueup.model import Champion, Model


def listed(model: Model) -> pd.DataFrame:
    """The quarantined rows: batch, key, time, and the expectations that failed."""
    frames = []
    for batch in model.batches(datetime.max):
        quarantined = model.home.store.quarantined(batch.rows)
        if len(quarantined):
            rows = model.home.store.read(batch.rows, [ROW_ID, EVENT_TIME, *model.config.ingest.key])
            named = quarantined.groupby(ROW_ID)["expectation"].agg(", ".join).rename("failed").reset_index()
            frames.append(rows.merge(named, on=ROW_ID).assign(batch=str(batch.window)))
    columns = ["batch", ROW_ID, EVENT_TIME, *model.config.ingest.key, "failed"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def release(model: Model, rows: list[int] | None, by: str, why: str) -> int:
    """Take rows (all when None) back into use, with a name and a reason; return their number.

    They are part of their batch again: features are made anew, the next training uses them, and the next run predicts
    them. Raises UsageError, and releases nothing, when a row is not in quarantine.
    """
    landed = model.batches(datetime.max)
    quarantined = {row for b in landed for row in model.home.store.quarantined(b.rows)[ROW_ID]}
    if strange := sorted(set(rows or ()) - quarantined):
        named = ", ".join(map(str, strange))
        raise UsageError(
            f"not in quarantine: row {named}; `trueup quarantine list {model.config.model}` shows those that are"
        )
    return sum(model.home.store.release(b.rows, rows, by=by, why=why) for b in landed)


def awaiting_score(model: Model, landed: list[Batch]) -> list[Batch]:
    """The batches with a released row that the champion may predict and that has no prediction."""
    current = model.champion()
    if current is None:
        return []
    sequences = model.home.store.with_releases([b.rows for b in landed])
    return [b for b in landed if b.rows.sequence in sequences and _unpredicted(model, b, current)]


def _unpredicted(model: Model, batch: Batch, current: Champion) -> bool:
    checked = model.validated(batch)
    if checked is None or not checked.usable or model.home.store.predictions_removed(model.config.model, batch.window):
        return False
    rows = model.home.store.read(batch.rows, [ROW_ID, EVENT_TIME])
    fair = set(rows.loc[rows[EVENT_TIME] >= current.trained_until, ROW_ID])  # the others stay without, see score
    released = set(model.home.store.quarantined(batch.rows, released=True)[ROW_ID])
    served = model.home.store.read_predictions(model.config.model, batch.window, columns=[ROW_ID])[ROW_ID]
    return bool(released & fair - set(served))


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Plain values, one dict a row."""
    return [dict(zip(frame.columns, row, strict=True)) for row in frame.itertuples(index=False, name=None)]
