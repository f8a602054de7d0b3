"""How long the live page takes with many models: until the first paint, until the whole table is there, and for one new batch.

A small model makes its first champion and monitors batches; its records of results and decisions are then written for every
model and batch, by the store and the ledger themselves. Chromium opens the pages of `trueup ui`, with the server just started
and with one that runs.

    python -m benchmarks.ui [--models 200] [--batches 365] [--keep FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import httpx
import psutil
import sqlalchemy as sa

from benchmarks import fleet
from benchmarks.measure import cost
from tests.browser import chromium
from tests.free import free_port
from trueup.adapters.store.results import Result
from trueup.config.settings import Settings
from trueup.domain.monitoring.result import MonitoringResult
from trueup.domain.types import Window
from trueup.handoffs import Validated
from trueup.home import Home
from trueup.ledger.entries import Decision, Entry, Promotion
from trueup.ledger.record import Record
from trueup.model import MONITOR, RUN, VALIDATE

AIM = 1.0  # seconds until the first paint
_START = datetime(2025, 1, 1)
_RETRAINED = 30  # batches between two decisions
_KINDS = ("promoted", "rejected", "promoted", "held")
_FINDINGS = ("healthy", "healthy", "healthy", "healthy", "shifted", "stale", "decayed", "unusual")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The live page with many models.")
    parser.add_argument("--models", type=int, default=200)
    parser.add_argument("--batches", type=int, default=365)
    parser.add_argument("--keep", type=Path, help="a folder for the home, which is used again if it is there")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="trueup-ui-") as scratch:
        folder = wanted.keep or Path(scratch)
        if not (folder / "made").exists():
            make(folder, wanted.models, wanted.batches)
        figures = measure(folder)
    print(json.dumps(figures) if wanted.json else "\n".join(f"{name}: {value}" for name, value in figures.items()))


def make(folder: Path, models: int, batches: int) -> None:
    """A home with the records of one real model for every model and batch."""
    folder.mkdir(parents=True, exist_ok=True)
    fleet.make(folder, 1)
    environment = {"TRUEUP_HOME": str(folder / "home"), "TRUEUP_CONFIGS": str(folder / "configs")}
    environment |= {"TRUEUP_REPORTS": "false", "OMP_NUM_THREADS": "1"}
    begin = "import sys; from trueup.cli.main import main; main()"
    for days in (0, 7):
        if days:
            fleet.write_tables(folder, 1, fleet._DAYS + days)
        cost([sys.executable, "-c", begin, "run", "--all", "--json"], environment)
    home = Home(Settings(home=folder / "home", configs=folder / "configs"))
    sa.event.listen(home.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous = OFF"))  # nothing here is kept
    first, rng = fleet.name(0), Random(0)
    entry = next(e for e in home.ledger.entries(first) if e.kind == "promoted")
    real: list[Result[MonitoringResult]] = home.store.results(first, MONITOR, MonitoringResult)
    measured = [r.body for r in real if r.body.skill is not None]
    checked = home.store.results(first, VALIDATE, Validated)[-1].body
    turn = home.store.results(first, RUN, dict)[-1].body
    text = (folder / "configs" / f"{first}.yaml").read_text().replace("period: week", "period: day")
    text = text.replace("block: 8 hours", "block: 1 hour")
    for number in range(models):
        name = f"model_{number:03d}"
        (folder / "configs" / f"{name}.yaml").write_text(text.replace(first, name))
        _record(home, name, batches, measured[-1], (checked, turn), entry, rng)
    (folder / "configs" / f"{first}.yaml").unlink()
    home.close()
    (folder / "made").touch()


def _record(
    home: Home,
    name: str,
    batches: int,
    seen: MonitoringResult,
    beside: tuple[Validated, dict[str, Any]],
    entry: Entry,
    rng: Random,
) -> None:
    """The batches and decisions of one model."""
    assert seen.skill is not None
    epoch = version = 0
    level = rng.uniform(0.05, 0.4)
    for number in range(batches):
        start = _START + timedelta(days=number)
        window = Window(start, start + timedelta(days=1))
        if number % _RETRAINED == 0:
            kind = _KINDS[number // _RETRAINED % len(_KINDS)]
            version += 1
            epoch += _decide(home, name, kind, number, version, epoch, window.end, entry)
        mean, wide = level + rng.gauss(0, 0.03), 0.03 + rng.random() / 20
        skill = replace(seen.skill, mean=mean, low=mean - wide, high=mean + wide)
        loss = replace(seen.metrics[0], value=0.5 - mean / 2, low=0.45 - mean / 2, high=0.56 - mean / 2)
        finding = rng.choice(_FINDINGS)
        told = (f"{finding}: as in the home of a benchmark",)
        body = replace(
            seen,
            diagnosis=finding,
            findings=(finding,),
            reasons=told,
            champion=version,
            skill=skill,
            metrics=(loss, *seen.metrics[1:]),
            landed=2 * number + 2,
        )
        home.store.record(name, MONITOR, window, 2 * number + 2, window.end, body, "pass")
        home.store.record(name, VALIDATE, window, 1, window.end, beside[0], "rules")
        home.store.record(name, RUN, window, 2 * number + 2, window.end, beside[1], "pass")


def _decide(
    home: Home, name: str, kind: str, number: int, version: int, epoch: int, as_of: datetime, entry: Entry
) -> int:
    """One decision, with the whole record of the real one; 1 if it made a champion."""
    plain = json.loads(entry.text)
    plain.pop("promotion", None)
    plain["outcome"] = kind
    plain["model"] |= {"version": version, "run_id": f"{name}-{number}", "trained_until": as_of.isoformat()}
    promotion = Promotion(version, entry.challenge.model.manifest_digest, epoch) if kind == "promoted" else None
    body = Record.model_validate(plain)
    home.ledger.append(Decision(f"{name}:{number}", name, kind, as_of, body, promotion))
    return int(kind == "promoted")


def measure(folder: Path) -> dict[str, Any]:
    """Open the pages with a server that was just started, and with one that runs."""
    home = Home(Settings(home=folder / "home", configs=folder / "configs"))
    models = sorted(path.stem for path in (folder / "configs").glob("model_*.yaml"))
    listed = home.store.results(models[0], MONITOR, dict)
    figures: dict[str, Any] = {"models": len(models), "batches": len(listed), "entries": home.ledger.newest()}
    with chromium() as browser:
        for name in ("cold", "warm"):
            with _served(folder) as (address, process, begun):
                if name == "warm":
                    time.sleep(20)
                figures[f"{name}_answers_s"] = round(time.monotonic() - begun, 2) if name == "cold" else None
                opened = [_open(browser, f"{address}/", len(models)) for _ in range(1 if name == "cold" else 5)]
                figures |= {f"{name}_fleet_{k}": statistics.median(o[k] for o in opened) for k in opened[0]}
                if name == "warm":
                    pages = [_open(browser, f"{address}/models/{m}", 0) for m in models[:5]]
                    figures |= {f"model_{k}": statistics.median(o[k] for o in pages) for k in pages[0]}
                    figures["live_s"] = _live(browser, address, home, models[-1], listed[-1])
                    figures["server_mib"] = round(process.memory_info().rss / 2**20)
    home.close()
    return {name: value for name, value in figures.items() if value is not None}


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, psutil.Process, float]]:
    """The server, as soon as it listens."""
    port, begun = free_port(), time.monotonic()
    environment = {**os.environ, "TRUEUP_HOME": str(folder / "home"), "TRUEUP_CONFIGS": str(folder / "configs")}
    command = [sys.executable, "-m", "trueup.ui.server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=environment)
    try:
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/static/icon.svg", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.02)
        yield f"http://127.0.0.1:{port}", psutil.Process(process.pid), begun
    finally:
        process.terminate()
        process.wait(30)


def _open(browser: Any, url: str, rows: int) -> dict[str, float]:
    """Seconds from the request to the first paint, and to the whole table; with the answer's size."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(url, wait_until="domcontentloaded")
    _until(page, f"document.querySelectorAll('#fleet-rows tr, table.batches tr').length >= {max(rows, 1)}")
    _until(page, "performance.getEntriesByName('first-contentful-paint').length > 0")
    told = page.evaluate(
        """() => { const n = performance.getEntriesByType('navigation')[0];
        return {paint_s: performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000,
                table_s: n.domContentLoadedEventEnd / 1000, answer_s: n.responseEnd / 1000,
                answer_kib: n.encodedBodySize / 1024}; }"""
    )
    context.close()
    return {name: round(value, 3) for name, value in told.items()}


def _live(browser: Any, address: str, home: Home, name: str, last: Result[Any]) -> float:
    """Seconds from the record of a new batch until the open page shows it."""
    page = browser.new_page()
    page.goto(f"{address}/")
    page.wait_for_selector("#link[data-state=live]")
    window = Window(last.window.end, last.window.end + timedelta(days=1))
    seen = home.store.results(name, MONITOR, MonitoringResult)[-1]
    begun = time.monotonic()
    home.store.record(name, MONITOR, window, seen.revision + 2, window.end, seen.body, "pass")
    shown = f"r.dataset.name === '{name}' && r.textContent.includes('{window.end:%Y-%m-%d}')"
    _until(page, f"[...document.querySelectorAll('#fleet-rows tr')].some(r => {shown})")
    return round(time.monotonic() - begun, 2)


def _until(page: Any, holds: str, seconds: float = 30.0) -> None:
    """Wait for a condition on a page, whose policy lets nothing be evaluated in it."""
    deadline = time.monotonic() + seconds
    while not page.evaluate(holds):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{page.url}: not within {seconds:g} s: {holds}")
        time.sleep(0.02)


if __name__ == "__main__":
    main()
