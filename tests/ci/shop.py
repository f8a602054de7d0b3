"""A small project in a bare Git repository and a clone of it, with branches that change its model."""

import subprocess
from pathlib import Path

DATA = """
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

FIRST, DAYS, A_DAY = datetime(2025, 1, 6), 56, 40


def orders(start, end):
    rng = np.random.default_rng(7)
    n = DAYS * A_DAY
    weight, distance = rng.gamma(2, 3, n).round(1), rng.gamma(2, 120, n).round()
    harbour = rng.random(n) < 0.3
    odds = -2.5 + 0.006 * distance + 0.12 * weight + 1.2 * harbour
    late = (rng.random(n) < 1 / (1 + np.exp(-odds))).astype(int)
    rows = pd.DataFrame({
        "order_id": [f"o{i:05d}" for i in range(n)],
        "ordered_at": [FIRST + timedelta(minutes=i * 1440 // A_DAY) for i in range(n)],
        "warehouse": np.where(harbour, "harbour", "north"),
        "weight_kg": weight,
        "distance_km": distance,
        "refund_eur": np.where(late == 1, rng.gamma(2, 8, n) + 1, 0).round(2),
        "late": late,
    })
    keep = pd.Series(True, rows.index)
    if start is not None:
        keep &= rows["ordered_at"] >= start
    if end is not None:
        keep &= rows["ordered_at"] < end
    return rows[keep].reset_index(drop=True)
"""
CONFIG = """
model: orders
task: binary
ingest:
  source: {kind: callable, function: "orders_data:orders"}
  time: ordered_at
  key: [order_id]
  period: week
  label: {column: late, known_after: 1 day}
validate:
  expectations:
    - {type: expect_column_values_to_not_be_null, kwargs: {column: order_id}}
features:
  numeric: [weight_kg]
  categorical: [warehouse]
  history:
    - {name: late_rate, of: label, by: [warehouse], windows: [7 days]}
train: {trials: 1, families: [linear]}
evaluate: {block: 12 hours, slices: [warehouse]}
promote:
  gates: [{kind: paired}, {kind: slices}, {kind: baseline, beat: [prior]}]
ci: {sample: source}
"""


class Shop:
    """The clone, with `main` pushed to the bare repository."""

    def __init__(self, folder: Path) -> None:
        self.bare, self.clone = folder / "shop.git", folder / "shop"
        git(folder, "init", "--quiet", "--bare", "-b", "main", str(self.bare))
        git(folder, "clone", "--quiet", str(self.bare), str(self.clone))
        git(self.clone, "checkout", "--quiet", "-b", "main")
        self.commit(
            {
                "configs/orders_data.py": DATA,
                "configs/orders.yaml": CONFIG,
                "README.md": "A shop.\n",
                ".gitignore": "ci-report/\n",
            }
        )
        git(self.clone, "push", "--quiet", "origin", "main")

    def branch(self, name: str, changed: dict[str, str | None]) -> None:
        """A branch of main with changed files; None deletes one."""
        git(self.clone, "checkout", "--quiet", "-B", name, "main")
        self.commit(changed)

    def commit(self, changed: dict[str, str | None]) -> None:
        for path, text in changed.items():
            file = self.clone / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.unlink() if text is None else file.write_text(text)
        git(self.clone, "add", "--all")
        git(self.clone, "commit", "--quiet", "-m", "a change")


def git(folder: Path, *words: str) -> str:
    own = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *own, *words], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()
