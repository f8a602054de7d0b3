"""What the landings of a model fixed for as long as it lives: the kinds of its columns, and its outcomes."""

from __future__ import annotations

from typing import Any

from trueup.config.schema import ModelConfig
from trueup.domain.data.outcome_values import Known
from trueup.domain.data.values import Kind
from trueup.home import Home
from trueup.model import Model


def rows_dataset(config: ModelConfig) -> str:
    """Name of the dataset with a model's rows."""
    return f"{config.model}/rows"


def labels_dataset(config: ModelConfig) -> str:
    """Name of the dataset with a model's labels."""
    return f"{config.model}/labels"


def known_of(model: Model) -> Known:
    """What was fixed so far. Each landing carries it on, so that the last one has all of it."""
    kinds: dict[str, Kind] = _fact(model.home, rows_dataset(model.config), "kinds") or {}
    outcomes: list[str] | None = _fact(model.home, labels_dataset(model.config), "outcomes")
    return Known(kinds, None if outcomes is None else tuple(outcomes))


def _fact(home: Home, dataset: str, name: str) -> Any:
    last = home.store.last(dataset)
    return None if last is None else last.facts.get(name)
