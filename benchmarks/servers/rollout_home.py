"""A home with the shipped model of the flights in which a challenger's rollout has begun, and the traffic of the next month."""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

from benchmarks.servers.flights_home import MODEL, FlightsHome, made, write_rows
from trueup.config.settings import Settings
from trueup.home import Home

TRAFFIC = "traffic"
# `shift`: the predictions of flights change with the season, as `promote.max_refit_shift` in the shipped config allows.
ROLLOUT = """\
  rollout:
    shadow: {rows: 300}
    canary: [{share: 0.1, rows: 50}, {share: 0.5, rows: 200}]
    deadline: 7 days
    limits: {shift: 1}
    labels: 2000
"""


def begun(folder: Path, month: int) -> FlightsHome:
    """The home in a folder, made there at the first call: the rollout is published, and had no request yet.

    The challenger knows the year up to the month of the traffic.
    """
    ready, tried = FlightsHome((folder / f"month-{month}").resolve()), datetime(2013, month, 1)
    if not ready.bodies(TRAFFIC).exists():
        shutil.rmtree(ready.folder, ignore_errors=True)
        flights = branch(made(folder / "champion"), ready.folder)
        file = flights.configs / f"{MODEL}.yaml"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("promote:\n", f"promote:\n{ROLLOUT}", 1), encoding="utf-8")
        flights.serve({}, publish=False)
        flights.command("run", MODEL, "--as-of", f"{tried:%Y-%m-%d}", "--retrain", "never")
        said = flights.command("retrain", MODEL, "--as-of", f"{tried:%Y-%m-%d}")
        if "rollout" not in said:
            raise RuntimeError(f"no rollout began:\n{said}")
        flights.online()
        write_rows(flights, TRAFFIC, tried, datetime(2013, month + 1, 1))
    return ready


def branch(flights: FlightsHome, folder: Path) -> FlightsHome:
    """A copy to go on with. The models still lie in the first home, where they are only read."""
    shutil.copytree(flights.folder, folder)
    return FlightsHome(folder)


def opened(flights: FlightsHome) -> Home:
    """The home in this process; the caller closes it."""
    return Home(Settings(home=flights.home, configs=flights.configs, reports=False))
