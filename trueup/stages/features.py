"""Features: point-in-time inputs of a batch, computed once and cached under a digest of their sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trueup.adapters.store.landed_rows import AT_ONCE
from trueup.config.own_code import load_function, source_digest
from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig, HistoryConfig
from trueup.config.tasks import Task
from trueup.domain.data.digest import digest_of
from trueup.domain.features.chunks import Rows, frame_of
from trueup.domain.features.features import (
    FeatureSchema,
    feature_frame,
    newest_batches,
    schema_of,
    with_history,
    without_values_lately,
)
from trueup.domain.features.history import history_features, keys_of, needed_reach
from trueup.domain.learning.training_windows import reference_window
from trueup.domain.monitoring.drift import sample_places
from trueup.domain.types import EVENT_TIME, KNOWN_AT, LABEL, ROW_ID, Batch, Window
from trueup.errors import FilesUnavailable, NotEnoughData, WorkError
from trueup.home import Home
from trueup.memory import give_back
from trueup.model import Champion, Model


@dataclass(frozen=True)
class Examples:
    """Labelled rows of a window; models learn from the features of `schema`, and `rows` may have others, too."""

    rows: Rows  # the features, or where they are
    y: pd.Series[Any]
    event_time: pd.Series[Any]
    known_at: pd.Series[Any]
    row_id: pd.Series[Any]
    schema: FeatureSchema
    sources: tuple[str, ...]  # digests of their sources
    gone: tuple[str, ...] = ()  # features without any value for some batches, which are not in `schema`

    @cached_property
    def X(self) -> pd.DataFrame:
        """The features as one frame, which is kept."""
        return frame_of(self.rows)

    @property
    def inputs(self) -> Rows:
        """The features for a fit: the frame if there is one."""
        made: Rows = self.__dict__.get("X", self.rows)
        return made

    @property
    def trained_until(self) -> datetime:
        """Just after the newest row: a model fitted on these has seen no row from then on."""
        newest: datetime = self.event_time.max().to_pydatetime()
        return newest + timedelta(microseconds=1)

    def sample(self, n: int, seed: int) -> tuple[pd.DataFrame, NDArray[np.intp]]:
        """Draw `n` rows, without reading the others, and their positions; all of them if there are no more."""
        places = sample_places(len(self.y), n, seed)
        chosen = np.arange(len(self.y)) if places is None else places
        return self.inputs.take(chosen), chosen

    def for_fit(self) -> Examples:
        """Without the ids and the moments of labels, which no fit needs: 16 bytes a row."""
        return replace(self, known_at=self.known_at.iloc[:0].copy(), row_id=self.row_id.iloc[:0].copy())

    def newest(self, rows: int | None) -> Examples:
        if rows is None or rows >= len(self.y):
            return self
        return self.at(np.arange(len(self.y) - rows, len(self.y)))  # not a slice, which would keep the other rows

    def at(self, rows: slice | NDArray[np.intp]) -> Examples:
        """A range of the rows, or those at ascending positions."""
        return replace(
            self,
            rows=self.inputs.iloc[rows] if isinstance(self.inputs, pd.DataFrame) else self.inputs.at(rows),
            y=self.y.iloc[rows],
            event_time=self.event_time.iloc[rows],
            known_at=self.known_at.iloc[rows],
            row_id=self.row_id.iloc[rows],
        )


def features(model: Model, batch: Batch, as_of: datetime, of: FeaturesConfig | None = None) -> str:
    """Compute the features of a batch unless they are cached; return their key.

    The key is a digest of the features' configuration (`of`, by default the config's), of the custom function, and of
    all data they were computed from. So a correction or a release from quarantine, in the batch or in its history,
    makes new features.
    """
    return _keys(model, [batch], model.usable_batches(as_of), of or model.config.features)[0]


def features_of_row(model: Model, batch: Batch, row_id: int, of: FeaturesConfig) -> pd.DataFrame:
    """The features of one row of a usable batch: the stored ones, else computed again, and nothing is stored.

    Empty for a row in quarantine. Raises WorkError as the store and the features do.
    """
    store, (named,) = model.home.store, _named(model, [batch], model.usable_batches(datetime.max), of)
    _, past, key = named
    try:
        ids = store.read_features([key], columns=[ROW_ID])[ROW_ID]
        return store.feature_rows([key], [np.flatnonzero(ids == row_id)]).frame()
    except FilesUnavailable:
        raise
    except WorkError:  # removed by the retention, or the batch or its history was corrected
        custom = load_function(of.custom, model.home.configs) if of.custom else None
        if custom is not None:  # it may look at other rows
            rows = store.effective(batch.rows)
        else:
            chunks = store.effective_chunks(batch.rows, store.columns(batch.rows), AT_ONCE)
            rows = pd.concat([chunk[chunk[ROW_ID] == row_id] for chunk in chunks], ignore_index=True)
        frame = feature_frame(rows, outcomes_of(of.history, model.home, past, batch.window), of, custom)
        return frame[frame[ROW_ID] == row_id].reset_index(drop=True)


def features_in_use(model: Model, of: FeaturesConfig) -> set[str]:
    """Keys of the features of all usable batches, computed or not."""
    usable = model.usable_batches(datetime.max)
    return {key for _, _, key in _named(model, usable, usable, of)}


def _keys(model: Model, wanted: list[Batch], usable: list[Batch], of: FeaturesConfig) -> list[str]:
    """Keys of the features of batches, which are computed if necessary."""
    keys = []
    for batch, past, key in _named(model, wanted, usable, of):
        if not model.home.store.has_features(key):
            _compute(model, key, batch, past, of)
        keys.append(key)
    return keys


def _compute(model: Model, key: str, batch: Batch, past: list[Batch], of: FeaturesConfig) -> None:
    """Compute the features of a batch and store them, in chunks of rows unless it is small or the config has a function."""
    store = model.home.store
    custom = load_function(of.custom, model.home.configs) if of.custom else None
    outcomes = partial(outcomes_of, of.history, model.home, past, batch.window)
    if custom is not None or batch.rows.rows <= AT_ONCE:
        store.put_features(key, feature_frame(store.effective(batch.rows), outcomes(), of, custom))
        return
    there = store.columns(batch.rows)
    keys, used = ([c for c in dict.fromkeys(names) if c in there] for names in (_keys_of(of.history), of.columns))
    queries = store.effective(batch.rows, [EVENT_TIME, *keys])
    history = history_features(queries, outcomes(), of.history) if of.history else None
    chunks = store.effective_chunks(batch.rows, list(dict.fromkeys([ROW_ID, EVENT_TIME, *used])), AT_ONCE)
    store.put_feature_chunks(key, _in_chunks(chunks, history, of))
    del queries, history, chunks
    give_back()


def _in_chunks(
    chunks: Iterator[pd.DataFrame], history: pd.DataFrame | None, of: FeaturesConfig
) -> Iterator[pd.DataFrame]:
    start = 0
    for rows in chunks:
        end = start + len(rows)
        yield with_history(rows, None if history is None else history.iloc[start:end], of)
        start = end


def _named(
    model: Model, wanted: list[Batch], usable: list[Batch], of: FeaturesConfig
) -> Iterator[tuple[Batch, list[Batch], str]]:
    """Each batch with the batches of its history, and the key of its features. Each state is read once."""
    pasts = [past_of(model.config, usable, batch.window, of) for batch in wanted]
    states = states_of(model.home, [b for batch, past in zip(wanted, pasts, strict=True) for b in (batch, *past)])
    recipe, function = of.model_dump(mode="json"), of.custom and source_digest(of.custom, model.home.configs)
    for batch, past in zip(wanted, pasts, strict=True):
        inputs = [states[b.rows.sequence] for b in (batch, *past)]
        yield batch, past, digest_of({"features": recipe, "function": function, "inputs": inputs})


def examples(
    model: Model,
    window: Window,
    as_of: datetime,
    known_by: datetime | None = None,
    of: FeaturesConfig | None = None,
    for_fit: bool = False,
) -> Examples:
    """Rows of a window with labels that counted by `known_by` (default `as_of`), with their features, in time order.

    The features are those of `of`, by default the config's. With `for_fit`, `known_at` and `row_id` are empty: no fit
    needs them, and they take 16 bytes a row. Raises NotEnoughData without any row.
    """
    usable = model.usable_batches(as_of)
    used = [b for b in usable if b.window.overlaps(window)]
    keys = _keys(model, used, usable, of or model.config.features)
    parts = [_labelled(model.home, b, k, window, known_by or as_of, for_fit) for b, k in zip(used, keys, strict=True)]
    if not any(len(places) for places, _ in parts):
        raise NotEnoughData(
            f"{model.config.model}: no matured labels in {window} by {known_by or as_of:%Y-%m-%d %H:%M}"
        )
    rows = model.home.store.feature_rows(keys, [places for places, _ in parts])
    schema = schema_of(rows.columns, of or model.config.features)
    rows, columns = rows.only(schema.names), _joined([columns for _, columns in parts])
    late = newest_batches(columns[EVENT_TIME], model.config.ingest.period, model.config.monitor.settle)
    gone = without_values_lately(rows, rows.at(late), schema.names)
    return Examples(
        rows=rows,
        y=columns[LABEL],
        event_time=columns[EVENT_TIME],
        known_at=columns.get(KNOWN_AT, columns[EVENT_TIME].iloc[:0].copy()),
        row_id=columns.get(ROW_ID, pd.Series(dtype="int64")),
        schema=schema.without(gone),
        gone=gone,
        sources=tuple(sorted({d for b in used for d in (b.rows.sha256, b.labels.sha256)})),
    )


def _labelled(
    home: Home, batch: Batch, key: str, window: Window, known_by: datetime, for_fit: bool
) -> tuple[NDArray[np.intp], pd.DataFrame]:
    """The rows of a batch in a window with labels that counted: their positions in the features, and columns of them.

    These are `event_time` and `label`, and unless they are for a fit, `row_id` and `known_at`.
    """
    labels = matured(home, [batch], known_by)
    rows = home.store.read_features([key], columns=[ROW_ID, EVENT_TIME])
    inside = (rows[EVENT_TIME] >= window.start) & (rows[EVENT_TIME] < window.end)
    found = labels.index.get_indexer(pd.Index(rows[ROW_ID]))
    places = np.flatnonzero(inside.to_numpy() & (found >= 0))
    of_rows, of_labels = ([EVENT_TIME], [LABEL]) if for_fit else ([ROW_ID, EVENT_TIME], [LABEL, KNOWN_AT])
    columns = {name: rows[name].array.take(places) for name in of_rows}
    columns |= {name: labels[name].array.take(found[places]) for name in of_labels}
    return places.astype(np.int32), pd.DataFrame(columns, copy=False)


def _joined(parts: list[pd.DataFrame]) -> dict[str, pd.Series[Any]]:
    """The columns of frames, one below the other; classes stay categories. A frame gives up each column that is joined."""

    def joined(name: str) -> pd.Series[Any]:
        columns = [part.pop(name) for part in parts if len(part)]
        if all(isinstance(column.dtype, pd.CategoricalDtype) for column in columns):
            return pd.Series(pd.api.types.union_categoricals(columns), name=name)
        whole: pd.Series[Any] = pd.concat(columns, ignore_index=True)
        return whole

    return {name: joined(name) for name in list(parts[0].columns)}


def read_for(model: Model, window: Window, as_of: datetime) -> list[Batch]:
    """The batches behind the examples of a window, in time order: its own, and those of their history."""
    usable = model.usable_batches(as_of)
    own = [b for b in usable if b.window.overlaps(window)]
    read = {b.window for b in own} | {
        p.window for b in own for p in past_of(model.config, usable, b.window, model.config.features)
    }
    return [b for b in usable if b.window in read]


def require_classes(config: ModelConfig, data: Examples, window: Window) -> None:
    """Raise NotEnoughData for labels of one class only."""
    if config.task is not Task.REGRESSION and data.y.nunique() < 2:
        raise NotEnoughData(
            f"{config.model}: all {len(data.y):,} matured labels in {window} are of class {data.y.iloc[0]}; "
            "wait for more history"
        )


def matured(home: Home, used: list[Batch], known_by: datetime) -> pd.DataFrame:
    """Labels that count at a moment, and since when, by row_id."""
    labels = home.store.read([b.labels for b in used], [ROW_ID, LABEL, KNOWN_AT])
    return labels[labels[KNOWN_AT] <= pd.Timestamp(known_by)].set_index(ROW_ID)


def past_of(config: ModelConfig, usable: list[Batch], window: Window, of: FeaturesConfig) -> list[Batch]:
    """Batches with labels that can become known within the longest trailing window of a row of `window`."""
    if not of.history:
        return []
    delay, since = config.ingest.label.known_after, window.start - needed_reach(of.history)
    past = (b for b in usable if b.window.start <= window.start)
    if delay is not None:
        return [b for b in past if b.window.end > since - delay]
    return [b for b in past if b.window == window or _known_between(b, since, window.end)]


def _known_between(batch: Batch, since: datetime, until: datetime) -> bool:
    """Whether a label of a batch may have become known then; of batches from before this was recorded, any may have."""
    if "known" not in batch.labels.facts:
        return True
    span = batch.labels.facts["known"]
    return span is not None and datetime.fromisoformat(span[1]) > since and datetime.fromisoformat(span[0]) < until


def outcomes_of(
    specs: Sequence[HistoryConfig], home: Home, past: list[Batch], window: Window | None = None
) -> pd.DataFrame:
    """Earlier rows with the columns of history features: keys, values, and when their labels became known.

    With a `window`, those that no row of it can see are left out.
    """
    columns = dict.fromkeys([*_keys_of(specs), *(s.of for s in specs if s.of != LABEL)])
    between = None if window is None else (window.start - needed_reach(specs), window.end)
    return home.store.labelled(past, list(columns), between)


def _keys_of(specs: Sequence[HistoryConfig]) -> list[str]:
    """The key columns of history features."""
    return [c for s in specs for by in s.by for c in keys_of(by)]


def states_of(home: Home, batches: list[Batch]) -> dict[int, list[Any]]:
    """The content and the rows that count of each batch, by its sequence number: all that features may depend on."""
    each = {b.rows.sequence: b for b in batches}
    quarantined = home.store.quarantined_ids_each([b.rows for b in each.values()])
    return {
        number: [b.rows.sha256, b.labels.sha256, ids.tolist()]
        for (number, b), ids in zip(each.items(), quarantined, strict=True)
    }


def reference_examples(model: Model, start: datetime, as_of: datetime, of: FeaturesConfig | None = None) -> Examples:
    """Read the training rows of the cheap reference: the window before `start`, with the labels known by then.

    Raises NotEnoughData without such labels, or with labels of one class only.
    """
    window = reference_window(start, model.config.monitor.decay)
    before = examples(model, window, as_of, known_by=start, of=of)
    require_classes(model.config, before, window)
    return before


def own_rows(model: Model, current: Champion, rows: Examples, window: Window, as_of: datetime) -> Rows:
    """The rows of a window, in the order of `rows`, with the features that the champion was trained on."""
    if current.features == model.config.features:
        return rows.inputs
    own = examples(model, window, as_of, of=current.features)
    if np.array_equal(own.row_id, rows.row_id):
        return own.rows
    return own.rows.take(pd.Index(own.row_id).get_indexer(pd.Index(rows.row_id)))


def features_of(model: Model, key: str, row_ids: pd.Series[Any]) -> tuple[Rows, NDArray[np.intp]]:
    """The features of rows by their ids, in the order of the file, and the place there of each id."""
    ids = pd.Index(model.home.store.read_features([key], columns=[ROW_ID])[ROW_ID])
    found = ids.get_indexer(pd.Index(row_ids))
    if (found < 0).any():
        raise KeyError(f"{int((found < 0).sum()):,} rows have no features under {key}")
    order = np.argsort(found, kind="stable")
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return model.home.store.feature_rows([key], [found[order]]), back
