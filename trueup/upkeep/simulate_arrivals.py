"""Feed: releases a source batch by batch, as a live source would, to show the loop on old data.

Each batch becomes a Parquet file in the home, with a copy of the model's config that reads these files. The original
config stays as it is. Outcomes of a separate source are released as they become known: each batch comes with those
known by its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass

from trueup import files
from trueup.adapters import parquet
from trueup.config import yaml_text
from trueup.config.plugins import own_modules
from trueup.config.settings import Settings
from trueup.domain.data.labels import table
from trueup.domain.data.landing import key_values
from trueup.domain.data.moments import parse_times
from trueup.domain.data.outcome_values import LandedFacts
from trueup.domain.data.periods import complete_periods
from trueup.domain.data.values import ColumnKind, key_hash
from trueup.domain.events import DataArrived, interval
from trueup.domain.types import Window
from trueup.errors import NoData, UsageError
from trueup.ledger.entries import Event
from trueup.model import Model
from trueup.stages.ingest_labels import kinds_of_keys, read_outcomes

LABELS: Final = "-labels"  # suffix of the folder of outcomes; a model's name cannot contain it


@dataclass(frozen=True)
class Fed:
    """How far a source was released."""

    released: Annotated[tuple[Window, ...], Field(alias="given")]
    left: tuple[Window, ...]
    configs: Path  # folder of the config for the released files: TRUEUP_CONFIGS of the loop
    rows: int = 0  # of the newest batch


def fed(model: Model) -> Fed:
    """Return what was released and what is left. Raises SourceError, NoData for an empty source."""
    extent, until = model.home.source(model.config).extent(), model.newest_complete()
    assert extent is not None  # else there is no newest
    windows = complete_periods(extent[0], until, model.config.ingest.period)
    released = tuple(w for w in windows if _file(model, w).exists())
    return Fed(released, tuple(w for w in windows if w not in released), written(model.home.root))


def written(home: Path) -> Path:
    """The folder of the configs that a home's feed writes."""
    return (home / "feed" / "configs").resolve()


def original(configs: str | None) -> Settings:
    """The settings with the folder of the configs written by hand: `configs`, else TRUEUP_CONFIGS, but never the feed's own."""
    settings = Settings()
    folder = Path(configs) if configs else settings.configs
    own = folder.resolve() == written(settings.root)
    return settings.model_copy(update={"configs": Path("configs") if own else folder})


def feed_next(model: Model) -> Fed:
    """Release and announce the next batch, and announce an earlier one if a crash prevented that. Raises NoData."""
    _require_original(model)
    before = fed(model)
    _announce(model, before.released)
    _write_config(model)
    if not before.left:
        raise NoData(f"{model.config.model}: all {len(before.released)} batches of the source were released")
    window, *left = before.left
    rows = model.home.source(model.config).read(window.start, window.end)
    if model.config.ingest.label.source is not None:
        _hand_out_labels(model, window, first=not before.released)
    parquet.write(parquet.to_table(rows), _file(model, window))
    _announce(model, (window,))
    return Fed((*before.released, window), tuple(left), before.configs, len(rows))


def _announce(model: Model, windows: tuple[Window, ...]) -> None:
    arrived = [DataArrived(model=model.config.model, as_of=w.end, batch=interval(w)) for w in windows]
    model.home.ledger.announce(model.config.model, [Event.of(payload, payload.batch) for payload in arrived])


def _hand_out_labels(model: Model, window: Window, first: bool) -> None:
    """Write the outcomes that became known in a window (or by its end, if it is the first), typed as the whole table."""
    raw = read_outcomes(model)
    kinds = kinds_of_keys(model, window)
    outcomes = table(raw, model.config.reading, model.config.task, LandedFacts(kinds))
    known_at = (
        outcomes.known_at
        if outcomes.delay is None
        else _known_after(model, outcomes.keys, outcomes.delay, window.end, kinds)
    )
    come = known_at <= np.datetime64(window.end)
    if not first:
        come &= known_at > np.datetime64(window.start)
    file = _file(model, window, LABELS)
    parquet.write(parquet.to_table(raw).take(outcomes.lines[come]), file)


def _known_after(
    model: Model,
    outcomes: npt.NDArray[np.int64],
    delay: timedelta,
    end: datetime,
    kinds: Mapping[str, ColumnKind],
) -> npt.NDArray[np.datetime64]:
    """When outcomes without a time become known: the delay after the first row of their key."""
    source, key = model.home.source(model.config), model.config.ingest.key
    extent = source.extent()
    assert extent is not None  # a batch is handed out
    rows = source.read(extent[0], end, list(dict.fromkeys([*key, model.config.ingest.time])))
    times = parse_times(rows[model.config.ingest.time], model.config.ingest.timezone, "ingest.time")
    keys = key_values(rows, model.config.ingest, {name: name for name in key}, "ingest.key", kinds)
    named = (keys.notna().all(axis=1) & times.notna()).to_numpy()
    happened = times[named].groupby(key_hash(keys[named])).min() + pd.Timedelta(delay)
    return happened.reindex(outcomes).to_numpy()


def _write_config(model: Model) -> None:
    """Write the config with the files as its source, and the user's own modules that it names beside it."""
    content = model.config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written_with = content["ingest"]["source"].get("decimal", ".")  # text columns that had values for "missing"
    content["ingest"]["source"] = {
        "kind": "files",
        "path": f"../{model.config.model}/*.parquet",
        "decimal": written_with,
    }
    if model.config.ingest.label.source is not None:
        content["ingest"]["label"]["source"] = {"kind": "files", "path": f"../{model.config.model}{LABELS}/*.parquet"}
    path = written(model.home.root) / f"{model.config.model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    for dotted in (model.config.features.custom, *own_modules(model.config.named)):
        module = model.home.configs / f"{dotted.split(':')[0]}.py" if dotted else None
        if module is not None and module.exists():
            shutil.copy2(module, path.parent)
    head = f"# Written by `trueup feed` from {model.home.configs / path.name}; change that one.\n"
    files.write_text(path, head + yaml_text.write(content))


def _require_original(model: Model) -> None:
    if model.home.configs.resolve() == written(model.home.root):
        raise UsageError(
            f"{model.config.model}: this config was written by the feed itself; use the folder of the original config, "
            "as in --from configs"
        )


def _file(model: Model, window: Window, of: str = "") -> Path:
    return model.home.root / "feed" / f"{model.config.model}{of}" / f"{window.start:%Y-%m-%d}.parquet"
