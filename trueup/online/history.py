"""Publishes the past that history features see: a snapshot of what they can reach, and a journal for each later landing.

The newest landed revisions of all batches count, without rows in quarantine, as for the features that the loop computes.
A correction of a batch, its rows or its labels, makes a new snapshot, because events cannot be taken out of a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pandas as pd

from trueup.config.sections.features import FeaturesConfig, HistoryConfig
from trueup.domain.data.digest import digest_of
from trueup.domain.data.values import as_text
from trueup.domain.features.history import (
    aggregated_values,
    checked_past,
    definitions,
    history_names,
    keys_of,
    known_moments,
    needed_reach,
)
from trueup.domain.types import KNOWN_AT, Batch
from trueup.errors import UsageError, WorkError
from trueup.files import whole
from trueup.model import Model
from trueup.serving import state
from trueup.serving.history import EPOCH, microseconds
from trueup.serving.history.file import Events, Header, encode, header_of, measure_of, read_content
from trueup.stages.features import outcomes_of, states_of

Landed = Literal["text", "digits", "number", "time"]

_JOURNALS: Final = 20
_STALE: Final = 2  # times as many events as are needed, before a new snapshot leaves the old ones out
_MICROSECOND: Final = timedelta(microseconds=1)


def write_history(
    model: Model, folder: Path, before: state.State | None, of: Sequence[FeaturesConfig] | None = None
) -> state.History | None:
    """Write what has landed since `before` was published, and return all files of the past; None without such features.

    `folder` is the model's in `HOME/serving`. `of` are the features of the versions that answer, by default of the
    champion (without one, those of the config). When nothing has changed, nothing is written.

    Raises UsageError if two versions define a history feature of the same name differently, and WorkError if landed
    batches cannot be read or the files cannot be written.
    """
    specs = specs_of(_features_of(model) if of is None else of, model.config.model)
    if not specs:
        return None
    past = _Past.of(model, specs)
    old = before.history if before is not None else None
    written = _written(folder, old) if old is not None and _same_recipe(old, past) else []
    have = {name: digest for header in written for name, digest in header.batches.items()}
    if old is None or not written or past.differs_from(have):
        return _history(folder, past, None, past.needed)
    fresh = [batch for batch in past.needed if _named(batch) not in have]
    if not fresh:
        return old
    too_many = len(old.files) > _JOURNALS or sum(f.events for f in old.files) > _STALE * past.size
    return _history(folder, past, None, past.needed) if too_many else _history(folder, past, old, fresh)


def files_are_right(folder: Path, history: state.History) -> bool:
    """Whether all files of a published past are there, as they were written."""
    return len(_written(folder, history)) == len(history.files)


def specs_of(features: Sequence[FeaturesConfig], model: str) -> list[HistoryConfig]:
    """The definitions of all versions' history features, each once.

    Raises UsageError if two of them give one name to different features.
    """
    specs = list({spec.model_dump_json(): spec for each in features for spec in each.history}.values())
    meanings: dict[str, dict[str, object]] = {}
    for spec in specs:
        for name, meaning in definitions([spec]).items():
            if meanings.setdefault(name, meaning) != meaning:
                raise UsageError(
                    f"{model}: two versions that answer define the history feature {name} differently; give the new one "
                    "another name in features.history"
                )
    return specs


def events_of(past: pd.DataFrame, specs: Sequence[HistoryConfig]) -> Events:
    """Turn landed rows with their outcomes into events, as `history_features` reads them.

    Raises WorkError if a column is missing, or is text but needs a mean.
    """
    past = checked_past(past, past, specs)
    past = past[past[KNOWN_AT].notna()]
    numbered = {column: _numbered(past[column]) for column in _key_columns(specs)}
    values = {}
    for spec, measure in zip(specs, map(measure_of, published_specs(specs)), strict=True):
        if measure not in values:
            numbers, present = aggregated_values(spec, past[spec.of])
            values[measure] = np.where(present, numbers if len(numbers) else 0.0, np.nan)
    return Events(
        known_moments(past),
        {column: codes for column, (codes, _) in numbered.items()},
        {column: texts for column, (_, texts) in numbered.items()},
        values,
    )


def published_specs(specs: Sequence[HistoryConfig]) -> tuple[state.HistorySpec, ...]:
    """The definitions as servers read them."""
    return tuple(
        state.HistorySpec(
            name=spec.name,
            of=spec.of,
            aggregate=spec.aggregate,
            equals=spec.equals,
            by=tuple(map(keys_of, spec.by)),
            windows=tuple(window // _MICROSECOND for window in spec.windows),
            names=tuple(history_names([spec])),
        )
        for spec in specs
    )


@dataclass(frozen=True)
class _Past:
    """The landed batches of a model, and what of them is needed for requests from the newest batch's start on."""

    model: Model
    specs: list[HistoryConfig]
    usable: list[Batch]
    since: datetime | None  # events that became known by then are not needed; None without a batch

    @classmethod
    def of(cls, model: Model, specs: list[HistoryConfig]) -> _Past:
        usable = model.usable_batches(datetime.max)
        return cls(model, specs, usable, usable[-1].window.start - needed_reach(specs) if usable else None)

    @property
    def needed(self) -> list[Batch]:
        """The batches with labels that can have become known since; any, if each label has its own moment."""
        delay = self.model.config.ingest.label.known_after
        if delay is None or self.since is None:
            return self.usable
        return [batch for batch in self.usable if batch.window.end > self.since - delay]

    @property
    def size(self) -> int:
        """The number of labels of the needed batches."""
        return sum(batch.labels.rows for batch in self.needed)

    @property
    def columns(self) -> dict[str, Landed]:
        """How the key columns were landed."""
        kinds = self.model.landed_facts().kinds
        names: dict[str, Landed] = {"digits": "digits", "time": "time"}
        names |= dict.fromkeys(("number", "integer", "boolean"), "number")
        return {column: names.get(kinds.get(column, "text"), "text") for column in _key_columns(self.specs)}

    def digests(self, batches: Sequence[Batch]) -> dict[str, str]:
        """The content of batches and the rows that count, as digests by window."""
        states = states_of(self.model.home, list(batches))
        return {_named(batch): digest_of(states[batch.rows.sequence]) for batch in batches}

    def differs_from(self, have: dict[str, str]) -> bool:
        """Whether a batch that was written was corrected since, or does not count any more."""
        return self.digests([batch for batch in self.usable if _named(batch) in have]) != have

    def events(self, batches: list[Batch]) -> Events:
        """The events of batches."""
        return events_of(outcomes_of(self.specs, self.model.home, batches), self.specs)


def _history(folder: Path, past: _Past, old: state.History | None, batches: list[Batch]) -> state.History:
    """Write a journal behind the files of `old`, or a snapshot."""
    specs, columns = published_specs(past.specs), past.columns
    files: tuple[state.HistoryFile, ...] = () if old is None else old.files
    complete = None if old is None else old.complete_since
    moments = [] if old is None or old.known_until is None else [old.known_until]
    if batches:
        events, left_out = past.events(batches), len(batches) < len(past.usable)
        if old is None and past.since is not None:
            events, cut = _after(events, microseconds(past.since))
            complete = past.since.isoformat() if left_out or cut else None
        files += (_write(folder, encode(events, past.digests(batches), snapshot=old is None), len(events.known)),)
        moments += [(EPOCH + int(events.known.max()) * _MICROSECOND).isoformat()] if len(events.known) else []
    return state.History(
        specs=specs,
        files=files,
        known_until=max(moments, key=datetime.fromisoformat, default=None),
        complete_since=complete,
        columns=dict(columns),
        timezone=past.model.config.ingest.timezone,
    )


def _after(events: Events, moment: int) -> tuple[Events, bool]:
    """The events that became known after a moment, and whether there are others."""
    kept = events.known > moment
    if kept.all():
        return events, False
    codes = {column: numbers[kept] for column, numbers in events.codes.items()}
    values = {measure: numbers[kept] for measure, numbers in events.values.items()}
    return Events(events.known[kept], codes, events.texts, values), True


def _write(folder: Path, content: bytes, events: int) -> state.HistoryFile:
    digest = hashlib.sha256(content).hexdigest()
    file = state.HistoryFile(file=f"{digest[:32]}.events", sha256=digest, events=events)
    with whole(folder / state.HISTORY / file.file) as stream:
        stream.write(content)
    return file


def _written(folder: Path, history: state.History) -> list[Header]:
    """The headers of published files; none if one is missing or was changed, so that all are written anew."""
    try:
        return [header_of(read_content(folder / state.HISTORY / f.file, f.sha256)) for f in history.files]
    except WorkError:
        return []


def _same_recipe(old: state.History, past: _Past) -> bool:
    now = published_specs(past.specs), past.columns, past.model.config.ingest.timezone
    return (old.specs, old.columns, old.timezone) == now


def _features_of(model: Model) -> list[FeaturesConfig]:
    champion = model.champion()
    return [model.config.features if champion is None else champion.features]


def _named(batch: Batch) -> str:
    return f"{batch.window.start.isoformat()}/{batch.window.end.isoformat()}"


def _key_columns(specs: Sequence[HistoryConfig]) -> list[str]:
    return list(dict.fromkeys(column for spec in specs for by in spec.by for column in keys_of(by)))


def _numbered(column: pd.Series) -> tuple[np.ndarray, dict[str, int]]:
    """Number the texts of a column, -1 if missing."""
    codes, values = pd.factorize(column)
    alike, texts = pd.factorize(np.array([*as_text(pd.Series(values))], dtype=object))
    return np.append(alike, -1)[codes].astype(np.int32), {text: i for i, text in enumerate(texts)}
