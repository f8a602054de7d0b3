"""The fields of a row that a client sends: what the versions need, with bounds, categories and an example."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import pandas as pd

from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.data.values import text_of
from trueup.model import Model
from trueup.serving.loading.manifest import Input
from trueup.serving.state import Field

Kind = Literal["number", "text", "time"]
_KINDS: Final[dict[str, Kind]] = {"number": "number", "integer": "number", "time": "time"}
_CHUNK: Final = 65_536
_ROWS: Final = 200  # of the newest batch, among which the example is


def fields(
    model: Model, of: Sequence[FeaturesConfig], inputs: Sequence[Input], sample: pd.DataFrame
) -> tuple[Field, ...]:
    """The fields for versions with the features `of`, in the order of the config.

    `inputs` are those of the champion, and `sample` is a sample of its training rows, for bounds and categories; an
    empty one gives no bounds.
    """
    uses = _uses(model.config, of)
    kinds = {name: kind_of(model, of, name) for name in uses}
    example = _example(model, list(uses))
    categories = {column.name: column.categories for column in inputs}
    units = {} if model.config.export is None else model.config.export.units
    return tuple(
        Field(
            name=name,
            kind=kinds[name],
            uses=tuple(for_what),
            categories=categories.get(name, ()),
            unit=units.get(name, ""),
            example=None if example is None else plain(example.get(name), kinds[name]),
            **(_bounds(sample, name) if kinds[name] == "number" else {}),
        )
        for name, for_what in uses.items()
    )


def _uses(config: ModelConfig, of: Sequence[FeaturesConfig]) -> dict[str, list[str]]:
    """What each column is sent for."""
    uses: dict[str, list[str]] = {}

    def add(columns: Iterable[str], use: str) -> None:
        for column in columns:
            if use not in uses.setdefault(column, []):
                uses[column].append(use)

    add(config.ingest.key, "key")
    add([config.ingest.time], "time")
    for features in of:
        add([*features.numeric, *features.categorical], "feature")
        add(features.calendar, "calendar")
        add(_keys_of_history(features), "history")
        if features.custom:
            add([c for c in config.input_columns if c in config.ingest.keep or c not in uses], "custom")
    return uses


def _keys_of_history(features: FeaturesConfig) -> list[str]:
    return [c for spec in features.history for by in spec.by for c in ([by] if isinstance(by, str) else by)]


def kind_of(model: Model, of: Sequence[FeaturesConfig], name: str) -> Kind:
    """The kind of a column: by its use in the features, else as declared or landed."""
    if any(name in features.numeric for features in of):
        return "number"
    if name == model.config.ingest.time or any(name in features.calendar for features in of):
        return "time"
    landed = model.landed_facts().kinds.get(name)
    return _KINDS.get(model.config.column_types.get(name) or landed or "text", "text")


def _bounds(sample: pd.DataFrame, name: str) -> dict[str, float]:
    if name not in sample.columns or sample[name].notna().sum() == 0:
        return {}
    return {"minimum": float(sample[name].min()), "maximum": float(sample[name].max())}


def _example(model: Model, columns: list[str]) -> pd.Series[Any] | None:
    """The newest of the landed rows with the fewest missing values; None without a usable batch."""
    for batch in reversed(model.usable_batches(datetime.max)):
        there = [c for c in columns if c in model.home.store.columns(batch.rows)]
        # The file's last chunk may be short, so the one before it is kept, too.
        newest = deque(model.home.store.effective_chunks(batch.rows, there, _CHUNK), maxlen=2)
        rows = pd.concat(newest).tail(_ROWS) if newest else pd.DataFrame()
        if len(rows):
            complete = rows.notna().sum(axis=1)
            chosen: pd.Series[Any] = rows[complete == complete.max()].iloc[-1]
            return chosen
    return None


def plain(value: Any, kind: Kind) -> str | float | None:
    """A landed value as a client sends it."""
    if value is None or pd.isna(value):
        return None
    if kind == "time":
        return str(pd.Timestamp(value).isoformat())
    return float(value) if kind == "number" else text_of(value)
