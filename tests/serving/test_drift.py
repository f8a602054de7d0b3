"""The stability index of the last hour's inputs."""

import numpy as np
import pandas as pd
import pytest

from trueup.online.sketches import sketches
from trueup.serving.drift import Drift
from trueup.serving.drift_files import DriftFiles
from trueup.serving.loading.manifest import Input

NUMBER = Input(name="x", kind="number", dtype="float64", missing=None, unknown=None, of="numeric", infinite=False)
CATEGORY = Input(
    name="c", kind="category", dtype="float64", categories=("a", "b"), missing=None, unknown=None, of="categorical",
    infinite=False,
)  # fmt: skip


def frame(n, seed, shift=0.0, lacking=0.1):
    rng = np.random.default_rng(seed)
    x = np.where(rng.random(n) < lacking, np.nan, rng.normal(size=n) + shift)
    return pd.DataFrame({"x": x, "c": rng.choice(["a", "b", None], n, p=[0.6, 0.3, 0.1])})


def encoded(rows):
    return np.column_stack([rows["x"], rows["c"].map({"a": 0.0, "b": 1.0})]).astype(float)


@pytest.fixture
def drift():
    clock = [0.0]
    made = Drift([NUMBER, CATEGORY], sketches([NUMBER, CATEGORY], frame(5000, 0)), lambda: clock[0])
    made.clock = clock
    return made


def test_rows_like_those_of_training_have_no_drift_and_shifted_ones_have(drift):
    drift.add(encoded(frame(3000, 1)))
    assert all(value < 0.02 for value in drift.psi().values())
    drift.add(encoded(frame(3000, 2, shift=1.0)))
    assert drift.psi()["x"] > 0.1 > drift.psi()["c"]


def test_missing_values_are_drift_too(drift):
    drift.add(encoded(frame(1000, 1, lacking=0.6)))
    assert drift.psi()["x"] > 0.25


def test_few_rows_say_nothing_and_an_hour_later_they_are_forgotten(drift):
    drift.add(encoded(frame(100, 1)))
    assert drift.psi() == {}
    drift.add(encoded(frame(900, 2, shift=2.0)))
    assert drift.psi()["x"] > 0.25
    drift.clock[0] = 3700.0
    assert drift.psi() == {}
    drift.add(encoded(frame(500, 3)))
    assert drift.psi()["x"] < 0.05


def test_the_counts_of_workers_are_added(drift, tmp_path, monkeypatch):
    """Each alone has too few rows; a worker's counts from before another training are left out."""
    both = [sketches([NUMBER, CATEGORY], frame(5000, seed)) for seed in (0, 9)]
    one, other, earlier = (Drift([NUMBER, CATEGORY], of, lambda: drift.clock[0]) for of in (both[0], both[0], both[1]))
    rows, files = encoded(frame(300, 1, shift=0.5)), DriftFiles(tmp_path)
    drift.add(rows)
    one.add(rows[:150]), other.add(rows[150:]), earlier.add(encoded(frame(900, 3)))
    for pid, worker in enumerate((one, other, earlier)):
        monkeypatch.setattr("os.getpid", lambda pid=pid: pid)
        files.write("flights", worker.counted())
    monkeypatch.setattr("os.getpid", lambda: 0)
    assert (one.psi(), other.psi()) == ({}, {})
    assert one.psi(files.others("flights")) == drift.psi()
    assert files.others("another") == []
    drift.clock[0] = 3700.0
    assert one.psi(files.others("flights")) == {}


def test_an_unknown_category_is_counted_where_it_has_a_number_of_its_own():
    column = Input(
        name="c", kind="category", dtype="float64", categories=("a", "b"), missing=2.0, unknown=3.0, of="categorical",
        infinite=False,
    )  # fmt: skip
    rows = frame(5000, 0)
    made = Drift([column], sketches([column], rows[["c"]]))
    codes = rows["c"].map({"a": 0.0, "b": 1.0}).fillna(2.0).to_numpy(dtype=float).reshape(-1, 1)
    made.add(codes)
    assert made.psi()["c"] < 1e-9
    made.add(np.full((2000, 1), 3.0))
    assert made.psi()["c"] > 0.25
