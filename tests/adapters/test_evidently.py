"""Drift through the real Evidently."""

import json
import os
import re
import subprocess
import sys
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from trueup.adapters import evidently
from trueup.config.sections.monitoring import DriftConfig
from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.cells import comparable
from trueup.domain.monitoring.drift import JENSEN_SHANNON, PSI, column_checks, judge_drift
from trueup.domain.monitoring.reference_rows import Reference
from trueup.domain.types import Window

CONFIG = DriftConfig()
NUMERIC, CATEGORICAL = tuple(f"n{i}" for i in range(10)), tuple(f"c{i}" for i in range(10))
SCHEMA = FeatureSchema(NUMERIC, CATEGORICAL)


def noise(n, rng):
    """20 columns of several shapes, the same whatever the sample: skewed, heavy-tailed, counts, gaps, rare categories."""
    shapes = [rng.normal, rng.exponential, rng.lognormal, rng.logistic]
    columns = {c: shapes[i % 4](size=n) for i, c in enumerate(NUMERIC[:7])}
    columns |= {"n7": rng.standard_cauchy(n), "n8": rng.poisson(2, n), "n9": (rng.random(n) < 0.04).astype(int)}
    columns |= {c: rng.choice(list("abcdefghijkl")[: i + 2], n) for i, c in enumerate(CATEGORICAL[:8])}
    columns |= {c: rng.zipf(1.5, n).clip(max=10_000).astype(str) for c in CATEGORICAL[8:]}
    frame = pd.DataFrame(columns)
    frame["n0"] = frame["n0"].where(rng.random(n) < 0.7)
    return frame.astype(dict.fromkeys(CATEGORICAL, "category"))


def judged(reference, current, schema=SCHEMA):
    checks = column_checks(Reference.of(reference), current, schema, CONFIG)
    found = evidently.scores(reference, current, schema)
    return judge_drift(found, checks, len(reference), len(current), CONFIG)


@pytest.mark.parametrize(
    ("n", "trials"), [(300, 20), *(pytest.param(n, 200, marks=pytest.mark.thorough) for n in (300, 5_000))]
)
def test_noise_does_not_raise_drift(n, trials):
    rng = np.random.default_rng(n)
    shifted = [judged(noise(n, rng), noise(n, rng)) for _ in range(trials)]
    assert all(r.shifted is not None for r in shifted)
    alarms = [r.reason for r in shifted if r.shifted]
    assert len(alarms) <= 0.05 * trials, alarms
    assert np.mean([len(r.drifted) for r in shifted]) < (0.2 if trials > 100 else 0.5)  # of 20 columns


@pytest.mark.parametrize("n", [300, 5_000])
def test_columns_that_moved_are_drift(n):
    rng = np.random.default_rng(n)
    reference, current = noise(n, rng), noise(n, rng)
    current = current.assign(
        **{c: current[c] + 1.0 for c in NUMERIC[:4]}, **{c: pd.Categorical(["a"] * n) for c in CATEGORICAL[:4]}
    )
    found = judged(reference, current)
    assert found.shifted
    assert set(found.drifted) == {*NUMERIC[:4], *CATEGORICAL[:4]}


def test_scores_need_little_of_evidently_and_leave_it_whole():
    """In a process of its own, because the others here have all of it."""
    code = """
import sys
import numpy as np, pandas as pd
from trueup.adapters import evidently
from trueup.domain.features.features import FeatureSchema
frames = [pd.DataFrame({"n": np.arange(90.0) + k, "c": list("ab" * 45)}) for k in (0, 30)]
first = evidently.scores(*frames, FeatureSchema(("n",), ("c",)))
assert not {"plotly", "litestar", "nltk"} & set(sys.modules)
evidently._stattests.cache_clear()
assert evidently._evidently().Report([evidently._evidently().metrics.RowCount()])
assert evidently.scores(*frames, FeatureSchema(("n",), ("c",))) == first
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_scores_are_those_of_evidentlys_report():
    vendor = evidently._evidently()
    rng = np.random.default_rng(0)
    reference, current = noise(400, rng), noise(400, rng)
    found = evidently.scores(reference, current, SCHEMA)
    before, now = (side.astype(object) for side in comparable(reference, current, SCHEMA))
    types = vendor.DataDefinition(categorical_columns=list(SCHEMA.names))
    metrics = [vendor.metrics.ValueDrift(column=c, method=PSI) for c in NUMERIC]
    metrics += [vendor.metrics.ValueDrift(column=c, method=JENSEN_SHANNON) for c in CATEGORICAL]
    sides = [vendor.Dataset.from_pandas(side, types) for side in (now, before)]
    report = vendor.Report(metrics, include_tests=False).run(*sides).dict()["metrics"]
    assert {m["config"]["column"]: m["value"] for m in report} == pytest.approx({c: s.value for c, s in found.items()})
    assert [found[c].method for c in ("n0", "c0")] == [PSI, JENSEN_SHANNON]
    assert found["n0"].n_current == current["n0"].notna().sum()


@pytest.mark.parametrize(
    "broken",
    [
        lambda f: f.iloc[:0],
        lambda f: f.iloc[:1],
        lambda f: f.drop(columns=["n1", "c1"]),
        lambda f: f.assign(n1=np.nan, c1=None),
        lambda f: f.assign(n1=np.inf),
        lambda f: f.assign(n1="text", c1=1.5),
        lambda f: f.assign(n1=[1, "2"] * 150),
        lambda f: f.assign(extra=1),
        lambda f: f.assign(n1=1, c1="always"),
        lambda f: f.assign(c1=[f"new {i}" for i in range(300)]),
    ],
)
def test_no_batch_makes_scoring_or_rendering_fail_or_look_alike(broken, tmp_path):
    """Evidently by itself fails on some of these and says "no drift" to others."""
    schema = FeatureSchema(("n1", "n2"), ("c1",))
    rng = np.random.default_rng(0)
    reference, current = noise(300, rng), broken(noise(300, rng))
    found = judged(reference, current, schema)
    expected = None if len(current) < 30 else "extra" not in current
    assert found.shifted is expected
    assert ("n2" in evidently.scores(reference, current, schema)) is not current.empty
    assert (evidently.render(reference, current, schema, tmp_path / "r.html", found.limits) is None) == current.empty


def test_the_report_is_written_with_the_verdicts_limits(tmp_path):
    rng = np.random.default_rng(0)
    schema = FeatureSchema(("n1", "n2"), ("c1",))
    reference = noise(300, rng)
    current = noise(300, rng).assign(n2=5.0)
    result = judged(reference, current, schema)
    path = evidently.render(reference, current, schema, tmp_path / "reports" / "drift.html", result.limits)
    text = path.read_text()
    assert "Data drift detected" in text
    assert "Data drift not detected" in text
    cells = [json.loads(found) for found in re.findall(r'"categoryarray": (\[[^]]*\])', text)]
    assert len(cells) == len(schema.names)
    assert all(c == sorted(c) for c in cells)  # a shift is seen from low to high, not by count
    assert text.index("Data drift detected") < text.index("Data drift not detected")  # what moved most comes first


def test_nothing_is_sent_and_nothing_is_imported_before_it_is_used(monkeypatch, tmp_path):
    code = "import sys, trueup.adapters.evidently; sys.exit('evidently' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

    calls, watching = [], True
    # A hook cannot be taken away again; it is switched off instead.
    sys.addaudithook(lambda event, _: calls.append(event) if watching and event.startswith("socket.") else None)
    monkeypatch.delenv("DO_NOT_TRACK", raising=False)
    rng = np.random.default_rng(0)
    evidently.render(noise(50, rng), noise(50, rng), FeatureSchema(("n1",), ("c1",)), tmp_path / "r.html")
    watching = False
    assert not {"socket.connect", "socket.getaddrinfo", "socket.sendto"} & set(calls)
    assert evidently.os.environ["DO_NOT_TRACK"] == "1"


def test_old_reports_leave_the_workspace(tmp_path):
    rng = np.random.default_rng(0)
    schema, workspace = FeatureSchema(("n1",), ("c1",)), tmp_path / "evidently"
    for month in (1, 2):
        shelf = evidently.Shelf(workspace, "toy", Window(datetime(2013, month, 1), datetime(2013, month + 1, 1)))
        evidently.render(noise(50, rng), noise(50, rng), schema, tmp_path / f"{month}.html", shelf=shelf)
    one, other = sorted(workspace.rglob("snapshots/*.json"))
    os.utime(one, (0, 0))
    yesterday = datetime.now().astimezone() - timedelta(days=1)
    size = one.stat().st_size
    assert evidently.remove(workspace, "other", yesterday) == (0, 0)
    assert evidently.remove(workspace, "toy", yesterday, dry_run=True) == (1, size)
    assert evidently.remove(workspace, "toy", yesterday) == (1, size)
    assert list(workspace.rglob("snapshots/*.json")) == [other]
