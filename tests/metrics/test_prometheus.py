"""A real Prometheus with the files of a project scrapes a real `trueup ui` and raises its alerts."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from tests import streams
from tests.free import free_port
from tests.metrics.prometheus import RULES, SCRAPES, expressions, names_in, program
from tests.metrics.test_text import SMALL
from tests.story import Story, stream
from trueup.ledger.entries import Decision
from trueup.ledger.record import Record

# What this home cannot have: predictions online, estimates without labels of a first champion, explained drift.
WITHOUT = ("trueup_request", "trueup_drift_psi", "estimate", "drift_effect", "due_timestamp", "label_lag")


@contextmanager
def running(log, *command, **environment):
    """A program for the block; it is ended by its own handle."""
    with log.open("w") as file:
        process = subprocess.Popen(
            [*map(str, command)], stdout=file, stderr=file, env={**os.environ, **environment}, cwd=log.parent
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=30)


def asked(address, **query):
    """The data of an answer of Prometheus' API; None while it does not answer."""
    try:
        with urlopen(f"{address}?{urlencode(query)}", timeout=5) as answer:
            return json.load(answer)["data"]
    except OSError:
        return None


def until(found, log, seconds=90):
    """What a function returns once it returns something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := found():
            return result
        time.sleep(0.3)
    raise AssertionError(log.read_text())


def decide(told, kind, **body):
    entries = told.home.ledger.entries("toy")
    record = Record(outcome=kind, reasons=["tried"], **body)
    told.home.ledger.append(Decision(f"toy:{kind}:{len(entries)}", "toy", kind, streams.week(4), record))


@pytest.mark.thorough
@pytest.mark.in_a_folder
def test_prometheus_scrapes_the_live_page_and_raises_the_alerts(tmp_path):
    prometheus = program("prometheus")
    told = Story(tmp_path, stream(28, per_day=80), SMALL)
    told.turn(3)
    told.turn(4)
    decide(told, "refused", rule="rejections")
    ui, port, log = free_port(), free_port(), tmp_path / "prometheus.log"
    scrapes = SCRAPES.read_text().replace("127.0.0.1:8300", f"127.0.0.1:{ui}").replace(": 30s", ": 1s")
    (tmp_path / "prometheus.yml").write_text(scrapes.replace("127.0.0.1:8200", f"127.0.0.1:{free_port()}"))
    (tmp_path / RULES.name).write_text(RULES.read_text())
    api = f"http://127.0.0.1:{port}/api/v1"
    page = [sys.executable, "-m", "trueup", "ui", "--port", ui]
    server = [prometheus, f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    places = {"TRUEUP_HOME": str(told.folder / "home"), "TRUEUP_CONFIGS": str(told.configs)}
    root = str(Path(__file__).parents[2])
    with (
        running(tmp_path / "ui.log", *page, PYTHONPATH=root, **places),
        running(log, *server, f"--config.file={tmp_path / 'prometheus.yml'}"),
    ):

        def firing():
            alerts = (asked(f"{api}/alerts") or {"alerts": []})["alerts"]
            return {a["labels"]["alertname"]: a for a in alerts if a["state"] == "firing"}

        first = until(lambda: "TrueupRetrainsStopped" in (now := firing()) and now, log)
        assert "TrueupRolledBack" not in first
        assert first["TrueupRetrainsStopped"]["annotations"]["summary"] == (
            "retrains of toy have stopped after rejections in a row"
        )
        decide(told, "rolled_back")
        later = until(lambda: "TrueupRolledBack" in (now := firing()) and now, log)
        assert later["TrueupRolledBack"]["labels"]["severity"] == "critical"
        assert "<error" not in json.dumps(later), "each annotation could be filled in"
        for query in expressions():
            answer = asked(f"{api}/query", query=query)
            assert answer is not None, query
            if not any(word in query for word in WITHOUT):
                assert answer["result"], f"{query} has no value; {sorted(names_in(query))}"
