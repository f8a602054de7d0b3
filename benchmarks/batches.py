"""What one new batch costs by its rows: CPU time, memory, and bytes and rows that the home keeps.

A model of 20 numbers and 2 categories in Parquet files gets its first champion (boosted trees) from eight weeks of 400 rows. Then a
week of 1,000, 10,000, 100,000 and a million rows arrives, each in a copy of that home. It is landed, validated, scored and,
because its labels are known, monitored; nothing is retrained. From each cost that of a run that finds nothing new is
subtracted. Reports are off.

    python -m benchmarks.batches [--rows 1000,10000,100000,1000000] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import Cost, cost, size_of

NUMBERS, WEEKS, BEFORE = 20, 8, 400
START = datetime(2026, 1, 5)  # a Monday
_CONFIG = """
model: sized
task: binary
ingest:
  source: {kind: files, path: data/*.parquet}
  time: at
  key: [id]
  period: week
  label: {column: y, known_after: 1 day}
features:
  numeric: [NUMBERS]
  categorical: [area, kind]
validate: {min_rows: 30, expectations: [{type: expect_column_values_to_not_be_null, kwargs: {column: id}}]}
train:
  min_history: 20 days
  families: [gradient_boosting]
  folds: 1
  trials: 1
evaluate: {resamples: 200, block: 8 hours}
promote: {gate_window: 10 days, min_new_days: 7, gates: [{kind: baseline, beat: [prior]}]}
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What one new batch costs by its rows.")
    parser.add_argument("--rows", default="1000,10000,100000,1000000", help="rows of the new batch, comma-separated")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-batches-") as scratch:
        results = measure(Path(scratch), [int(n) for n in wanted.rows.split(",")])
    if wanted.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for rows, figures in results.items():
        print(f"{rows:>10} rows: " + ", ".join(f"{name} {value:,}" for name, value in figures.items()))


def measure(folder: Path, sizes: list[int]) -> dict[str, dict[str, Any]]:
    """The costs of a batch of each size, and of a run that finds nothing new."""
    first, end = folder / "first", START + timedelta(weeks=WEEKS + 1, days=2)
    (first / "configs" / "data").mkdir(parents=True)
    columns = ", ".join(f"x{n}" for n in range(NUMBERS))
    (first / "configs" / "sized.yaml").write_text(_CONFIG.replace("NUMBERS", columns))
    _write(first, 0, WEEKS, BEFORE)
    _run(first, START + timedelta(weeks=WEEKS), "inline")
    before, idle = size_of(first / "home"), _run(first, START + timedelta(weeks=WEEKS), "never")
    results: dict[str, dict[str, Any]] = {
        "nothing new": {"cpu_s": round(idle.cpu_s, 2), "peak_mib": round(idle.peak_mib)}
    }
    for rows in sizes:
        place = shutil.copytree(first, folder / str(rows))
        _write(place, WEEKS, 1, rows)
        done = _run(place, end, "never")
        after = size_of(place / "home")
        results[str(rows)] = {
            "cpu_s": round(done.cpu_s - idle.cpu_s, 2),
            "peak_mib": round(done.peak_mib),
            "bytes_a_row": round((after["bytes"] - before["bytes"]) / rows, 1),
            "files": after["files"] - before["files"],
            "table_rows": after["table_rows"] - before["table_rows"],
        }
        shutil.rmtree(place)
    return results


def _run(folder: Path, as_of: datetime, retrain: str) -> Cost:
    environment = {
        "TRUEUP_HOME": str(folder / "home"),
        "TRUEUP_CONFIGS": str(folder / "configs"),
        "TRUEUP_REPORTS": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    words = ["run", "sized", "--as-of", as_of.isoformat(), "--retrain", retrain]
    return cost([sys.executable, "-c", "from trueup.cli.main import main; main()", *words], environment)


def _write(folder: Path, first: int, weeks: int, rows: int) -> None:
    """Write a file for each week, with an outcome that depends on two numbers and a category."""
    for week in range(first, first + weeks):
        rng = np.random.default_rng(week)
        seconds = np.sort(rng.integers(0, 7 * 86_400, rows))
        frame = pd.DataFrame({f"x{n}": rng.normal(size=rows).round(4) for n in range(NUMBERS)})
        frame["area"], frame["kind"] = rng.choice(list("abcde"), rows), rng.choice(list("uvw"), rows)
        odds = 2 * frame["x0"] - frame["x1"] + (frame["area"] == "a")
        frame["y"] = (rng.random(rows) < 1 / (1 + np.exp(-odds))).astype(int)
        frame["at"] = pd.Timestamp(START + timedelta(weeks=week)) + pd.to_timedelta(seconds, unit="s")
        frame["id"] = np.arange(rows) + week * 10_000_000
        frame.to_parquet(folder / "configs" / "data" / f"week-{week:02d}.parquet", index=False)


if __name__ == "__main__":
    main()
