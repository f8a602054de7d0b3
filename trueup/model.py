"""One model: a config in a home, and what can be asked of it."""

from __future__ import annotations

from dataclasses import dataclass

from trueup.config.schema import ModelConfig
from trueup.home import Home


@dataclass(frozen=True)
class Model:
    """A model's config, and the home that holds its data, its versions and its decisions."""

    config: ModelConfig
    home: Home
