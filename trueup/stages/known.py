"""What the landings of a model fixed for as long as it lives: the kinds of its columns, and its outcomes."""

from __future__ import annotations

from typing import Any

from trueup.config.schema import ModelConfig
from trueup.domain.data.outcome_values import Known
from trueup.domain.data.values import Kind
from trueup.home import Ports


def rows_dataset(config: ModelConfig) -> str:
    """Name of the dataset with a model's rows."""
    return f"{config.model}/rows"


def labels_dataset(config: ModelConfig) -> str:
    """Name of the dataset with a model's labels."""
    return f"{config.model}/labels"


def known_of(config: ModelConfig, ports: Ports) -> Known:
    """What was fixed so far. Each landing carries it on, so that the last one has all of it."""
    kinds: dict[str, Kind] = _fact(ports, rows_dataset(config), "kinds") or {}
    outcomes: list[str] | None = _fact(ports, labels_dataset(config), "outcomes")
    return Known(kinds, None if outcomes is None else tuple(outcomes))


def _fact(ports: Ports, dataset: str, name: str) -> Any:
    last = ports.store.last(dataset)
    return None if last is None else last.facts.get(name)
