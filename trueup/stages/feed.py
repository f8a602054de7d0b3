"""Feed: hand out a source batch by batch, as a live one would, so that the loop can be seen at work on old data.

A batch becomes a Parquet file in the home; beside the files stands a copy of the model's config that reads them. What
is written by hand stays the one config there is.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from trueup.adapters import frames
from trueup.config.schema import ModelConfig
from trueup.domain.events import DataArrived, interval
from trueup.domain.periods import complete_periods
from trueup.domain.types import Window
from trueup.errors import NoData, UsageError
from trueup.ledger.entries import Event
from trueup.stages.ingest import newest_complete
from trueup.stages.ports import Ports


@dataclass(frozen=True)
class Fed:
    """How far a source was handed out."""

    given: tuple[Window, ...]
    left: tuple[Window, ...]
    configs: Path  # folder of the config that reads what was given: TRUEUP_CONFIGS for the loop
    rows: int = 0  # of the batch just given


def fed(config: ModelConfig, ports: Ports) -> Fed:
    """Say what was handed out and what is left. Raises SourceError, NoData for an empty source."""
    extent, until = ports.source(config).extent(), newest_complete(config, ports)
    assert extent is not None  # else there is no newest
    windows = complete_periods(extent[0], until, config.ingest.period)
    given = tuple(w for w in windows if _file(config, ports, w).exists())
    return Fed(given, tuple(w for w in windows if w not in given), written(ports.root))


def written(home: Path) -> Path:
    """The folder of the configs that the feed of a home writes."""
    return (home / "feed" / "configs").resolve()


def feed_next(config: ModelConfig, ports: Ports) -> Fed:
    """Hand out the next batch, then announce its arrival. A batch whose announcement a crash swallowed is announced too.

    Raises NoData when nothing is left.
    """
    _require_original(config, ports)
    before = fed(config, ports)
    _announce(config, ports, before.given)
    _write_config(config, ports)
    if not before.left:
        raise NoData(f"{config.model}: all {len(before.given)} batches of the source were handed out")
    window, *left = before.left
    rows = ports.source(config).read(window.start, window.end)
    frames.write(frames.to_table(rows), _file(config, ports, window))
    _announce(config, ports, (window,))
    return Fed((*before.given, window), tuple(left), before.configs, len(rows))


def _announce(config: ModelConfig, ports: Ports, windows: tuple[Window, ...]) -> None:
    arrived = [DataArrived(model=config.model, as_of=w.end, batch=interval(w)) for w in windows]
    ports.ledger.announce(config.model, [Event.of(payload, payload.batch) for payload in arrived])


def _write_config(config: ModelConfig, ports: Ports) -> None:
    """Write the config with the files as its source, and a module of features beside it if it has one."""
    content = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    written_with = content["ingest"]["source"].get("decimal", ".")  # of text beside which a value meant "none"
    content["ingest"]["source"] = {"kind": "files", "path": f"../{config.model}/*.parquet", "decimal": written_with}
    path = written(ports.root) / f"{config.model}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if config.features.custom is not None:
        module = ports.configs / f"{config.features.custom.split(':')[0]}.py"
        if module.exists():
            shutil.copy2(module, path.parent)
    head = f"# Written by `trueup feed` from {ports.configs / path.name}; change that one.\n"
    beside = path.with_suffix(".new")
    beside.write_text(head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    beside.replace(path)


def _require_original(config: ModelConfig, ports: Ports) -> None:
    if ports.configs.resolve() == written(ports.root):
        raise UsageError(
            f"{config.model}: the feed cannot read what it has written itself; name the folder of the config written "
            "by hand, as in --from configs"
        )


def _folder(ports: Ports) -> Path:
    return ports.root / "feed"


def _file(config: ModelConfig, ports: Ports, window: Window) -> Path:
    return _folder(ports) / config.model / f"{window.start:%Y-%m-%d}.parquet"
