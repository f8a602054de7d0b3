"""A made-up loan book: the loans in one file, what became of them in another, 30 days later."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests import streams

DELAY = 30  # days until it is recorded whether a loan defaulted

CONFIG = """
model: loans
task: binary
about: Whether a loan will default.
ingest:
  source: {kind: files, path: data/loans.csv}
  time: issued
  key: [id]
  period: week
  label:
    column: defaulted
    known_at: recorded_on
    source: {kind: files, path: data/outcomes.csv}
    key: {id: loan_id}
validate:
  min_rows: 30
  expectations:
    - {type: expect_column_values_to_be_between, kwargs: {column: amount, min_value: 0, max_value: 100000}}
features:
  numeric: [amount, term, income]
  categorical: [purpose, region]
train:
  min_history: 28 days
  families: [gradient_boosting]
  trials: 1
  folds: 1
  parameters: {gradient_boosting: {max_iter: 40, learning_rate: 0.15, max_leaf_nodes: 8}}
evaluate:
  resamples: 300
  block: 6 hours
promote:
  gate_window: 14 days
  min_new_days: 6
  max_refit_shift: 1
monitor:
  min_matured: 100
"""


def book(
    weeks: int, per_day: int = 60, seed: int = 1, change_on: int | None = None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The loans and their outcomes. From the day `change_on` on it is the rich who default."""
    rng = np.random.default_rng(seed)
    days, n = weeks * 7, weeks * 7 * per_day
    day = np.repeat(np.arange(days), per_day)
    issued = pd.Timestamp(streams.START) + pd.to_timedelta(day, "D")
    issued += pd.to_timedelta(np.tile(np.linspace(0, 86_000, per_day).astype(int), days), "s")
    amount, income = rng.integers(1, 50, n) * 500, rng.integers(15, 120, n) * 1000
    term, purpose = rng.choice([12, 24, 36, 60], n), rng.choice(["car", "house", "debt"], n)
    region = rng.choice(["north", "south"], n)
    burden = (amount / income - 0.25) * np.where(day < (days if change_on is None else change_on), 6, -6)
    odds = burden + np.where(purpose == "debt", 1.0, -0.5) * np.where(term > 24, 1.5, -1.0)
    defaulted = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    loans = pd.DataFrame({"id": np.arange(n) + 1, "issued": issued, "amount": amount, "term": term, "income": income})
    loans = loans.assign(purpose=purpose, region=region)
    recorded = issued + pd.Timedelta(days=DELAY)
    return loans, pd.DataFrame({"loan_id": loans["id"], "defaulted": defaulted, "recorded_on": recorded})


def known_by(outcomes: pd.DataFrame, week: int) -> pd.DataFrame:
    """The outcomes that are recorded when so many weeks are complete."""
    return outcomes[outcomes["recorded_on"] <= pd.Timestamp(streams.week(week))]


def write(folder: Path, loans: pd.DataFrame, outcomes: pd.DataFrame, config: str = CONFIG) -> Path:
    """Lay out a folder of configs with both files beside it; give the folder of configs."""
    configs = folder / "configs"
    (configs / "data").mkdir(parents=True, exist_ok=True)
    loans.to_csv(configs / "data" / "loans.csv", index=False)
    outcomes.to_csv(configs / "data" / "outcomes.csv", index=False)
    (configs / "loans.yaml").write_text(config)
    return configs
