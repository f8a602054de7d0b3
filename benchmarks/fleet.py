"""What `trueup run --all` costs for many small models: seconds with nothing new, and CPU seconds with a small batch each.

It makes models of 504 rows each, with their own CSV files, in a temporary home. Their configs are the draft that `trueup
new` writes for the first table, with one recipe, one family and fewer resamples, so that a champion is cheap. The first run of the
fleet makes these champions: each is trained, judged and promoted by the loop itself. Then every file gets a week of rows. Reports are off.

    python -m benchmarks.fleet [--models 200] [--workers 1] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.measure import Cost, cost, size_of
from trueup.config.settings import Settings
from trueup.domain.profiling.questions import Ask
from trueup.home import Home
from trueup.onboarding.new_model import draft

IDLE_AIM, BATCH_AIM = 60.0, 6.0  # seconds in all for 200 models; CPU seconds a model
_DAYS, _PER_DAY = 63, 8
_START = datetime(2026, 1, 5)  # a Monday
_CHEAPER = {
    "families: [gradient_boosting, linear]": "families: [linear]",
    "  trials: 4": "  folds: 1\n  trials: 1",
    "export: {format: onnx}\n": "",
    "  block: 8 hours": "  resamples: 200\n  block: 8 hours",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Many small models: idle, and with one new batch each.")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-fleet-") as scratch:
        figures = measure(Path(scratch), wanted.models, wanted.workers)
    if wanted.json:
        print(json.dumps(figures))
        return
    print(
        f"{figures['models']} models, nothing new: {figures['idle_s']:.1f} s ({figures['idle_cpu_s']:.1f} CPU s) in all "
        f"(aim: {IDLE_AIM:g} s at most for 200); one small batch each: {figures['batch_cpu_s']:.2f} CPU s a model "
        f"(aim: {BATCH_AIM:g} at most), {figures['batch_s']:.1f} s in all; the first champions: "
        f"{figures['first_cpu_s']:.2f} CPU s a model"
    )


def measure(folder: Path, models: int, workers: int = 1) -> dict[str, Any]:
    """Run the fleet three times: first champions, one new batch each, nothing new."""
    make(folder, models)
    environment = {
        "TRUEUP_HOME": str(folder / "home"),
        "TRUEUP_CONFIGS": str(folder / "configs"),
        "TRUEUP_REPORTS": "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
    }
    first, decided = _run(environment, workers)
    before = size_of(folder / "home")
    write_tables(folder, models, _DAYS + 7)
    batch, handled = _run(environment, workers)
    after = size_of(folder / "home")
    idle, rest = _run(environment, workers)
    if handled.get("nothing_new") or rest != {"nothing_new": models}:
        raise RuntimeError(f"with a new batch: {handled}, without: {rest}; this measures something else")
    return {
        "models": models,
        "workers": workers,
        "idle_s": round(idle.wall_s, 2),
        "idle_cpu_s": round(idle.cpu_s, 2),
        "batch_s": round(batch.wall_s, 2),
        "batch_cpu_s": round(batch.cpu_s / models, 3),
        "first_cpu_s": round(first.cpu_s / models, 3),
        "first_outcomes": decided,
        "batch_outcomes": handled,
        "first_kept": {name: round(count / models, 1) for name, count in before.items()},
        "batch_kept": {name: round((count - before[name]) / models, 1) for name, count in after.items()},
        "peak_mib": round(max(first.peak_mib, batch.peak_mib, idle.peak_mib)),
    }


def _run(environment: Mapping[str, str], workers: int) -> tuple[Cost, dict[str, int]]:
    """Run the fleet; the models by outcome are the second result. Raises RuntimeError if a model fails."""
    begin = "import sys; from trueup.cli.main import main; main()"
    done = cost([sys.executable, "-c", begin, "run", "--all", "--workers", str(workers), "--json"], environment)
    return done, json.loads(done.out)["counts"]


def make(folder: Path, models: int) -> None:
    """Write tables and configs."""
    (folder / "configs" / "data").mkdir(parents=True)
    write_tables(folder, models, _DAYS)
    home = Home(Settings(home=folder / "home", configs=folder / "configs"))
    table = str(folder / "configs" / "data" / f"{name(0)}.csv")
    text = draft(Ask(name(0), table, "at", "y", ("id",), timedelta(days=1), period="week"), home).text
    home.close()
    for usual, cheaper in _CHEAPER.items():
        if usual not in text:
            raise RuntimeError(f"the draft has no {usual!r} any more; correct `_CHEAPER`")
        text = text.replace(usual, cheaper)
    for number in range(models):
        (folder / "configs" / f"{name(number)}.yaml").write_text(text.replace(name(0), name(number)))


def write_tables(folder: Path, models: int, days: int) -> None:
    """Write each model's table. A longer one begins with the same rows."""
    for number in range(models):
        rows(number).head(days * _PER_DAY).to_csv(folder / "configs" / "data" / f"{name(number)}.csv", index=False)


def name(number: int) -> str:
    """The name of a model."""
    return f"m{number:04d}"


def rows(seed: int) -> pd.DataFrame:
    """Rows with two numbers, a category and an outcome that depends on them."""
    rng, count = np.random.default_rng(seed), (_DAYS + 7) * _PER_DAY
    at = [_START + timedelta(days=n // _PER_DAY, hours=2 * (n % _PER_DAY)) for n in range(count)]
    frame = pd.DataFrame(
        {"id": np.arange(count) + 1, "at": at, "x": rng.normal(size=count), "z": rng.normal(size=count)}
    )
    frame["area"] = rng.choice(list("abc"), count)
    odds = 3 * frame["x"] + np.where(frame["area"] == "a", 1.0, 0.0)
    return frame.assign(y=(rng.random(count) < 1 / (1 + np.exp(-odds))).astype(int))


if __name__ == "__main__":
    main()
