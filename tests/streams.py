"""Small made-up data streams with known truths, and configs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

START = datetime(2024, 1, 1)  # a Monday

Relation = Callable[[pd.DataFrame, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Stream:
    """Rows spread evenly over days; `relation` gives the log-odds of the label from the rows and the day numbers."""

    days: int
    per_day: int = 80
    seed: int = 1
    change_on: int | None = None  # from this day on the sign of x's effect is turned round
    season: float = 0.0  # size of a slow swing of x over 90 days
    noise_on: int | None = None  # from this day on the relation is half as strong

    def frame(self) -> pd.DataFrame:
        """Columns id, t, x, z, group, y."""
        rng = np.random.default_rng(self.seed)
        n = self.days * self.per_day
        day = np.repeat(np.arange(self.days), self.per_day)
        x = rng.normal(size=n) + self.season * np.sin(2 * np.pi * day / 90)
        z = rng.normal(size=n)
        group = rng.choice(["a", "b", "c"], size=n)
        strength = np.where(day >= (self.noise_on if self.noise_on is not None else self.days), 0.5, 1.0)
        sign = np.where(day >= (self.change_on if self.change_on is not None else self.days), -1.0, 1.0)
        # An interaction that the cheap linear reference cannot learn gives the champion its skill.
        odds = strength * (sign * 1.5 * x + 2.0 * np.sign(x * z) + np.where(group == "a", 0.8, 0.0))
        y = rng.random(n) < 1 / (1 + np.exp(-odds))
        moment = [
            START + timedelta(days=int(d), seconds=int(s))
            for d, s in zip(day, np.tile(np.linspace(0, 86000, self.per_day), self.days), strict=True)
        ]
        return pd.DataFrame({"id": np.arange(n), "t": moment, "x": x, "z": z, "group": group, "y": y.astype(int)})


CONFIG = """
model: toy
task: binary
about: A made-up stream.
ingest:
  source: {kind: files, path: data/*.csv}
  time: t
  key: [id]
  period: week
  label: {column: y, known_after: 1 day}
validate:
  min_rows: 30
  expectations:
    - {type: expect_column_values_to_be_between, kwargs: {column: x, min_value: -20, max_value: 20}}
    - {type: expect_column_values_to_be_in_set, kwargs: {column: group, value_set: [a, b, c]}}
features:
  numeric: [x, z]
  categorical: [group]
  history:
    - {name: rate, by: [group], windows: [7 days]}
train:
  min_history: 28 days
  families: [gradient_boosting]
  trials: 1
  folds: 1
  parameters: {gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}
evaluate:
  resamples: 500
  block: 6 hours
  slices: [group]
promote:
  gate_window: 14 days
  min_new_days: 6
monitor:
  min_matured: 100
"""


def write(folder: Path, frame: pd.DataFrame, config: str = CONFIG) -> Path:
    """Lay out a folder of configs with the stream beside it; give the folder of configs."""
    configs = folder / "configs"
    (configs / "data").mkdir(parents=True, exist_ok=True)
    frame.to_csv(configs / "data" / "stream.csv", index=False)
    name = next(line.split(": ")[1] for line in config.splitlines() if line.startswith("model:"))
    (configs / f"{name}.yaml").write_text(config)
    return configs


def week(number: int) -> datetime:
    """The moment at which so many weeks are complete."""
    return START + timedelta(weeks=number)
