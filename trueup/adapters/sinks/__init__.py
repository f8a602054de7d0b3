"""Sinks for predictions besides the store, one class per kind."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path

import pandas as pd

from trueup.config.sections.scoring import SinkConfig
from trueup.domain.types import Window


class Sink(SinkConfig):
    """A destination of predictions. Fields are its config keys.

    The `kind` of a config names a subclass: one of the library by its name in `trueup.config.sections.scoring`, one of your
    own as `module:Class`.
    """

    @abstractmethod
    def write(self, window: Window, frame: pd.DataFrame, root: Path) -> None:
        """Write the predictions of a batch: `row_id` and further columns. Writing the same again must change nothing.

        Relative paths start at `root`, the folder of the configs. Raises WorkError.
        """
