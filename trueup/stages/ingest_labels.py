"""Joins labels of a separate source by key to the rows of every landed batch.

Rows are not read from the source again, because the store has their keys and times. Only changes are landed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd

from trueup.domain.data.column_kinds import declared_kinds, first_kinds
from trueup.domain.data.key_spelling import spelled_otherwise
from trueup.domain.data.labels import Outcomes, Table, changes, known_span, label_columns, table
from trueup.domain.data.outcome_values import LandedFacts
from trueup.domain.data.values import ColumnKind
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Batch, Facts, Window
from trueup.errors import SourceError
from trueup.model import Model


def read_outcomes(model: Model) -> pd.DataFrame:
    """Read the label source. Raises SourceError, which names its place in the config."""
    source = model.home.label_source(model.config)
    if source is None:
        raise SourceError(f"{model.config.model}: ingest.label has no source of its own; its rows have the outcomes")
    with naming_it():
        return source.everything(label_columns(model.config.ingest))


@contextmanager
def naming_it() -> Iterator[None]:
    """Add the label source's place in the config to errors, because the source does not know its role."""
    try:
        yield
    except SourceError as error:
        raise type(error)(str(error).replace("ingest.source", "ingest.label.source")) from None


_GONE, _FEW_GONE = 0.1, 10  # share, and number, of landed labels that may be missing in the label source


class Joining:
    """The label source as known at a moment, and the batches joined to it so far."""

    def __init__(self, model: Model, outcomes: Outcomes, named: pd.DataFrame, newest: Window) -> None:
        self._config, self._ports, self._outcomes, self._newest = model.config, model.home, outcomes, newest
        self._named = named  # the keys of the label source
        self._batches_of = np.zeros(len(outcomes.keys), dtype=np.int64)  # per key

    def land(self, window: Window, rows: pd.DataFrame) -> None:
        """Land the labels of a window's rows, if they have changed.

        Oddities of the whole table are recorded with the newest window, after all others were joined.
        """
        labels, facts = self._outcomes.of(rows, self._config.ingest.key)
        self._outcomes.require_known(rows, self._config.ingest.key, f"of the rows of {window}")
        places = np.unique(self._outcomes.places(rows, self._config.ingest.key))
        self._batches_of[places[places >= 0]] += 1
        store, name = self._ports.store, self._config.labels_dataset
        if (before := store.newest(name, window)) is not None:
            changed = changes(store.read(before, [ROW_ID, LABEL, KNOWN_AT]), labels)
            if changed is None:
                return
            facts |= changed
        facts |= {"outcomes": self._outcomes.facts["outcomes"], **known_span(labels)}
        facts |= self._odd_overall() if window == self._newest else {}
        store.land(name, window, labels, facts)

    def require_same_kind(self, batches: Iterable[Batch]) -> None:
        """Refuse a label source that lacks most keys of landed labels, because it is probably another one.

        A withdrawn outcome stays in the source as an empty one. Raises SourceError.
        """
        key, store = self._config.ingest.key, self._ports.store
        landed = gone = 0
        example = pd.DataFrame()
        for batch in (b for b in batches if b.labels.rows):
            rows = store.read(batch.rows, list(dict.fromkeys([ROW_ID, *key])))
            labelled = rows[rows[ROW_ID].isin(store.read(batch.labels, [ROW_ID])[ROW_ID])]
            missing = labelled[self._outcomes.places(labelled, key) < 0]
            landed, gone = landed + len(labelled), gone + len(missing)
            example = missing[list(key)] if len(missing) else example
        if gone == 0 or (gone < landed and gone <= max(_GONE * landed, _FEW_GONE)):
            return
        here, there = example[key[0]], self._named[key[0]]
        keys = f"keys there are such as {', '.join(map(str, there.head(2)))}, those of the rows such as {', '.join(map(str, here.head(2)))}"
        cause = spelled_otherwise(here, there)
        raise SourceError(
            f"ingest.label.source: the keys of {gone:,} of {landed:,} landed labels are missing in it ({keys}"
            f"{f'; {cause}' if cause else ''}): that is another source, or other keys, and not so many withdrawals. Nothing was "
            "changed. Give it all outcomes with their keys as before; one that was taken back stays in it with an empty outcome"
        )

    def land_again(self, batches: Iterable[Batch]) -> None:
        """Land the changed labels of landed batches, reading only keys and times of their rows."""
        columns = list(dict.fromkeys([ROW_ID, EVENT_TIME, *self._config.ingest.key]))
        for batch in batches:
            self.land(batch.window, self._ports.store.read(batch.rows, columns))

    def _odd_overall(self) -> Facts:
        valued = self._outcomes.now >= 0
        return {
            **self._outcomes.facts,
            "orphans": int((valued & (self._batches_of == 0)).sum()),
            "keys_again": int((self._batches_of > 1).sum()),
        }


def joining(model: Model, landed: list[Batch], as_of: datetime, windows: Sequence[Window]) -> Joining | None:
    """Read the label source, once; None if labels are beside the rows. Raises SourceError.

    `windows` are those of the source, in time order. Outcomes that become known after `as_of` do not hide earlier ones.
    A run for an earlier moment than a previous one withdraws no label: `landed` are all batches, whatever `as_of` is.
    """
    if model.config.ingest.label.source is None:
        return None
    facts = model.landed_facts()
    for window in windows:  # a part of the key may be empty in the first one
        if {*model.config.ingest.key} <= {*facts.kinds, model.config.ingest.time}:
            break
        facts = replace(facts, kinds={**kinds_of_keys(model, window), **facts.kinds})
    outcomes = table(read_outcomes(model), model.config.reading, model.config.task, facts)
    _require_some(outcomes, sum(b.labels.rows for b in landed))
    moment = max([as_of, *(b.window.end for b in landed)])
    made = Joining(model, outcomes.at(moment), outcomes.named, windows[-1])
    made.require_same_kind(landed)
    return made


def kinds_of_keys(model: Model, window: Window) -> dict[str, ColumnKind]:
    """The kinds of the key columns with values in a window's rows, to which outcomes are converted. Raises SourceError."""
    key = model.config.ingest.key
    rows = model.home.source(model.config).read(
        window.start, window.end, list(dict.fromkeys([model.config.ingest.time, *key]))
    )
    kinds = first_kinds(rows, key, declared_kinds(model.config.reading, model.config.numeric_columns), LandedFacts())
    return {name: kinds[name] for name in key if rows[name].notna().any()}


def _require_some(outcomes: Table, landed: int) -> None:
    """Refuse an empty label source after labels were landed: the source was probably moved."""
    if landed and not len(outcomes.keys):
        raise SourceError(
            f"ingest.label.source: it holds no outcome, and {landed:,} labels were landed from it before; see whether it "
            "was moved or emptied by mistake. Nothing was changed"
        )
