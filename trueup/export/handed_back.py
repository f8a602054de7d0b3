"""Predictions that devices made and hand back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from trueup.config.tasks import Task
from trueup.errors import UsageError
from trueup.export.joined import Storing, frame_of
from trueup.export.spool_file import Served, read_spools
from trueup.model import Model


@dataclass(frozen=True)
class HandedBack:
    """What became of the records of some spools: `new` ones are stored; the counts from `equal` on are of others."""

    model: str
    records: int
    new: int = 0
    unmatched: int = 0  # of the new ones: of rows that their landed batch does not have
    equal: int = 0  # the row has this prediction already
    different: int = 0  # the row has another prediction already: the first one served counts
    other_model: int = 0
    never_served: int = 0  # of a version, or an epoch, that the ledger never promoted
    before: int = 0  # of rows from before the end of the version's training
    unreadable: int = 0  # key, time or prediction are not those of this model
    retired: int = 0  # of batches whose predictions were removed by retention
    broken: int = 0  # lines that are no records
    lost: int = 0  # records that devices dropped for lack of room
    batches: tuple[str, ...] = ()  # with new predictions
    never: tuple[str, ...] = ()  # the versions that never served


def ingest_predictions(model: Model, files: Sequence[Path]) -> HandedBack:
    """Store what devices predicted, for the monitor to compare with the labels.

    Handing the same file back again changes nothing. Raises UsageError for a model without `ingest.key`, whose rows
    cannot be named elsewhere, and WorkError for a file that cannot be read.
    """
    name = model.config.model
    if not model.config.ingest.key:
        raise UsageError(
            f"{name}: ingest.key is empty, so a prediction made elsewhere cannot be joined to its row; name the columns "
            "that identify a row"
        )
    spooled, served = read_spools(files), _ends_of_training(model)
    own = [record for record in spooled.records if record.model == name]
    of_champions = [record for record in own if (record.version, record.epoch) in served]
    never = sorted({(r.version, r.epoch) for r in own} - served.keys())
    counts = {
        "records": len(spooled.records),
        "other_model": len(spooled.records) - len(own),
        "never_served": len(own) - len(of_champions),
        "broken": spooled.broken,
        "lost": spooled.lost,
    }
    storing = Storing(model)
    storing.store(frame_of(model, of_champions, _classes_by_version(model, of_champions)), served)
    return HandedBack(
        name,
        **counts,
        **storing.counts,
        unreadable=len(of_champions) - storing.readable,
        batches=tuple(str(window) for window in sorted(storing.windows)),
        never=tuple(f"version {version} in epoch {epoch}" for version, epoch in never),
    )


def _ends_of_training(model: Model) -> dict[tuple[int, int], pd.Timestamp]:
    """The end of training of each champion, by version and epoch."""
    return {(c.version, c.epoch): pd.Timestamp(c.trained_until) for c in model.succession()}


def _classes_by_version(model: Model, records: Sequence[Served]) -> dict[int, frozenset[str]]:
    """The classes of each version in some records of champions; empty unless the task is multiclass."""
    if model.config.task is not Task.MULTICLASS:
        return {}
    versions = {record.version for record in records}
    champions = {c.version: c for c in model.succession() if c.version in versions}
    return {number: frozenset(map(str, c.load(model.home).classes_)) for number, c in champions.items()}
