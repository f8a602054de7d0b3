"""What the parts of an explanation are made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline

from trueup.config.schema import ModelConfig
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.types import EVENT_TIME, ROW_ID, Batch
from trueup.errors import FilesUnavailable, WorkError
from trueup.explain.explanation import HIDDEN, Explanation
from trueup.explain.version import Version
from trueup.model import Model


@dataclass(frozen=True)
class Privacy:
    """Which columns have personal data, whose values are hidden unless `personal`."""

    config: ModelConfig
    personal: bool

    def hides(self, column: str) -> bool:
        """Whether the values of a column are hidden."""
        serve = self.config.serve
        listed = serve is not None and column in serve.personal
        return not self.personal and (listed or self.config.governance.is_personal(column))

    def shown(self, column: str, value: Any) -> Any:
        """A value of a landed column as a plain value, or the sign that it is hidden."""
        return HIDDEN if self.hides(column) else plain(value)

    def feature(self, name: str, value: Any, of: FeaturesConfig) -> Any:
        """The same for a feature: a part of a time is as personal as the time."""
        parts = ((column, f"{column}_{part}") for column, each in of.calendar.items() for part in each)
        return self.shown(next((column for column, part in parts if part == name), name), value)


@dataclass(frozen=True)
class Case:
    """A row with its features (1, any), and the version that explains it."""

    model: Model
    batch: Batch
    known: Explanation
    row: pd.Series[Any]  # as it landed
    version: Version
    frame: pd.DataFrame
    fitted: Pipeline
    privacy: Privacy

    @cached_property
    def training(self) -> pd.DataFrame:
        """A sample of the rows that the version was trained on, with labels and its predictions. Raises WorkError."""
        path = self.version.made.baseline_path
        try:
            return self.model.home.store.read_evaluation(path)
        except FilesUnavailable:
            raise
        except WorkError as error:
            raise WorkError(
                f"the sample of the training rows of version {self.version.number} is gone ({path})"
            ) from error

    @property
    def names(self) -> list[str]:
        """The names of the features."""
        return [str(c) for c in self.frame.columns if c not in (ROW_ID, EVENT_TIME)]

    def value(self, name: str) -> Any:
        """The row's value of a feature, as it may be shown."""
        return self.privacy.feature(name, self.frame[name].iloc[0], self.version.made.features)


Made = tuple[dict[str, Any], tuple[str, ...]]  # fields of an `Explanation`, and notes


def plain(value: Any) -> Any:
    """A value as JSON may have it: None for a missing one.

    >>> plain(np.float32(0.1)), plain(np.int64(3)), plain(pd.NaT), plain("UA")
    (0.1, 3, None, 'UA')
    """
    if value is None or value is pd.NaT or value is pd.NA or value != value:  # not a number is unequal to itself
        return None
    if isinstance(value, np.float32):
        return float(str(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value if isinstance(value, str | int | float | datetime) else str(value)
