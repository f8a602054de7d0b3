"""The quality and cost of `trueup new`.

Flights: the config that `new` writes for the flights of 2013, month by month through the loop, against the hand-written
one: unweighted mean of the monthly log-loss, March to December. `new` sees the whole year, as did the other's author.
Time: a made-up table of 50,000 rows and 20 columns, its rehearsal, and the first challenger at the moment of the
rehearsal: from `trueup new` until `run` prints the decision, in separate commands and an empty home; also a run over
all 52 weeks in an empty home. `python -m benchmarks.new [flights|time] [--json]`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trueup.model import Model

ROWS, COLUMNS = 50_000, 20
_CALL = "from trueup.cli.main import main; main()"
_ROOT = Path(__file__).parents[1]


def flights(folder: Path) -> dict[str, float]:
    """Mean monthly log-loss of both configs, and their ratio."""
    from trueup.config.settings import Settings
    from trueup.config.tasks import Task
    from trueup.domain.profiling.questions import Ask
    from trueup.home import Home
    from trueup.onboarding.new_model import draft, save

    configs = folder / "configs"
    configs.mkdir(parents=True)
    for name in ("flight_delays.yaml", "nycflights.py"):
        shutil.copy(_ROOT / "configs" / name, configs)
    ask = Ask(
        "drafted", "nycflights:flights", "scheduled", "arr_delay", above=15, timezone="America/New_York", task=Task.BINARY, period="month"
    )  # fmt: skip
    home = Home(Settings(home=folder / "home", configs=configs, reports=False))
    save(draft(ask, home))
    losses = {name: _year(name, home) for name in ("drafted", "flight_delays")}
    home.close()
    return {**losses, "ratio": losses["drafted"] / losses["flight_delays"]}


def _year(name: str, home: Any) -> float:
    """Run a model through the year; returns the mean of its monthly losses from March on."""
    from trueup.config.load import load_model
    from trueup.domain.judging.metrics import row_losses
    from trueup.domain.types import LABEL
    from trueup.loop import steps
    from trueup.loop.turn import cycle

    config, end = load_model(home.configs, name), datetime(2014, 1, 1)
    for month in range(2, 14):
        done = cycle(steps, Model(config, home), datetime(2013 + month // 13, (month - 1) % 12 + 1, 1))
        sys.stderr.write(f"{name} {done.as_of:%Y-%m}: {done.decided.outcome} {'; '.join(done.decided.reasons)[:100]}\n")
    losses = []
    for batch in Model(config, home).usable_batches(end):
        joined = Model(config, home).scored_labels(batch, end)
        if batch.window.start >= datetime(2013, 3, 1) and len(joined):
            losses.append(float(row_losses(config.task, joined[LABEL], joined["prediction"]).mean()))
    if len(losses) != 10:
        sys.stderr.write(f"{name}: only {len(losses)} of ten months were served\n")
    return float(np.mean(losses))


def made_up(seed: int = 0) -> pd.DataFrame:
    """A year of orders with numbers and categories, some of them predictive of a return."""
    rng = np.random.default_rng(seed)
    when = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.sort(rng.uniform(0, 364 * 86400, ROWS)).round(), unit="s")
    numbers = {f"x{i}": rng.normal(size=ROWS).round(4) for i in range(12)}
    words = {f"c{i}": rng.choice([f"v{j}" for j in range(3 + 8 * i)], ROWS) for i in range(5)}
    odds = numbers["x0"] - numbers["x1"] + (words["c0"] == "v1") + 0.5 * numbers["x2"] * numbers["x3"] - 1
    label = (rng.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(int)
    return pd.DataFrame({"id": np.arange(ROWS), "ordered": when, **numbers, **words, "returned": label})


def timed(folder: Path) -> dict[str, float]:
    """Seconds of wall time of `new`, of `check --rehearse`, and of `run` at the rehearsal's first champion."""
    table = folder / "orders.csv"
    (folder / "configs").mkdir(parents=True)
    frame = made_up()
    assert frame.shape == (ROWS, COLUMNS)
    frame.to_csv(table, index=False)
    new, _, _ = _seconds(folder, ["new", "orders", "--data", str(table), "--time", "ordered", "--label", "returned"])
    rehearse, _, output = _seconds(folder, ["check", "orders", "--rehearse", "--json"])
    if (first := output["models"][0]["rehearsal"]["first"]) is None:
        raise SystemExit(f"no first champion: {output['models'][0]['rehearsal']['lacking']}")
    run, decided, output = _seconds(folder, ["run", "orders", "--as-of", first["as_of"], "--json"])
    if output["decided"]["outcome"] not in {"promoted", "rejected"}:
        raise SystemExit(f"no challenger was judged: {output['decided']}")
    shutil.rmtree(folder / "home")
    everything, _, _ = _seconds(folder, ["run", "orders", "--json"])
    return {
        "new": new,
        "rehearse": rehearse,
        "run until it tells the decision": decided,
        "run until its reports are drawn": run,
        "new to judged": new + decided,
        "run over all 52 weeks in an empty home": everything,
    }


def _seconds(folder: Path, words: list[str]) -> tuple[float, float, Any]:
    """Seconds until a command ended, seconds until its last line of output, and that line as JSON, if it is JSON."""
    environment = {**os.environ, "TRUEUP_HOME": str(folder / "home"), "PYTHONPATH": str(_ROOT), "OMP_NUM_THREADS": "1"}
    begun, last_line, lines = time.monotonic(), 0.0, [""]
    with (folder / "errors").open("w+") as errors:
        command = [sys.executable, "-u", "-c", _CALL, *words]
        with subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as done:
            assert done.stdout is not None
            for line in done.stdout:
                last_line = time.monotonic() - begun
                lines.append(line)
        seconds = time.monotonic() - begun
        errors.seek(0)
        if done.returncode:
            raise SystemExit(
                f"trueup {' '.join(words)}: exit code {done.returncode}\n{''.join(lines)}\n{errors.read()}"
            )
    return seconds, last_line, json.loads(lines[-1]) if lines[-1].startswith("{") else None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="?", choices=["flights", "time"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for name, measure in {"time": timed, "flights": flights}.items():
        if options.what in {None, name}:
            with tempfile.TemporaryDirectory() as folder:
                results[name] = measure(Path(folder))
    if options.json:
        sys.stdout.write(json.dumps(results) + "\n")
        return
    for name, figures in results.items():
        unit = " s" if name == "time" else ""
        sys.stdout.write("".join(f"{name}, {what}: {value:.4g}{unit}\n" for what, value in figures.items()))


if __name__ == "__main__":
    main()
