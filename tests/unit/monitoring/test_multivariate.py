"""How columns go together is compared by a classifier, whatever each column does alone."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.config.sections.features import FeaturesConfig
from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.drift import ColumnDrift, DriftResult, DriftScore, with_year_ago
from trueup.domain.monitoring.multivariate import separate
from trueup.domain.monitoring.reference_rows import reference_for
from trueup.domain.records import from_plain, to_plain
from trueup.domain.types import Window

DAYS, PER_DAY, WEEK = 84, 40, 7
SCHEMA = FeatureSchema(("a", "b", "c", "d"), ("k",))
START = pd.Timestamp("2024-01-01")
BATCH = Window(datetime(2024, 3, 25), datetime(2024, 4, 1))


def days(seed=0, days=DAYS + WEEK, per_day=PER_DAY, weather=0.0):
    """A stream in which b follows a, and k follows c; each day has a weather of its own."""
    rng, n = np.random.default_rng(seed), days * per_day
    day = np.repeat(np.arange(days), per_day)
    a, b, c, d = rng.normal(size=(4, n)) + weather * rng.normal(size=(4, days))[:, day]
    times = START + pd.to_timedelta(day, unit="D") + pd.to_timedelta(np.tile(np.arange(per_day), days) * 60, unit="s")
    kind = np.where(c + rng.normal(size=n) > 0, "x", "y")
    return pd.DataFrame({"a": a, "b": 0.6 * a + b, "c": c, "d": d, "k": kind, "event_time": times})


def compared(frame, change=lambda batch: batch, schema=SCHEMA):
    before, batch = frame[frame["event_time"] < BATCH.start], change(frame[frame["event_time"] >= BATCH.start].copy())
    reference = reference_for(before, FeaturesConfig(numeric=["a"]), BATCH, "week")
    return separate(reference, batch, batch["event_time"], schema)


def test_nothing_changed():
    found = compared(days())
    assert not found.drifted
    assert abs(found.auc - 0.5) < 0.06
    assert f"AUC {found.auc:.2f} (limit {found.limit:.2f})" in found.words


@pytest.mark.parametrize(
    ("change", "pair"),
    [
        (lambda batch: batch.assign(d=batch["a"] + 0.2 * batch["d"]), {"a", "d"}),
        (lambda batch: batch.assign(b=-batch["b"]), {"a", "b"}),
        (lambda batch: batch.assign(k=np.where(batch["k"] == "x", "y", "x")), {"c", "k"}),
        (lambda batch: batch.assign(d=batch["d"].mask(batch["a"] > 0)), {"a", "d"}),
    ],
    ids=["a new dependence", "the opposite one", "categories exchanged", "missing where another is large"],
)
def test_a_change_of_what_goes_together_is_found_and_named(change, pair):
    found = compared(days(), change)
    assert found.drifted
    assert found.auc > found.limit > 0.5
    assert set(found.words.rpartition("most by ")[2].split(" with ")) == pair


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: batch.assign(a=batch["a"] * 3 + 10, d=np.exp(batch["d"])),
        lambda batch: batch.assign(k="x"),
        lambda batch: batch.assign(a=np.nan),
    ],
    ids=["moved and stretched", "one category", "missing"],
)
def test_what_a_column_does_alone_is_left_to_its_own_checks(change):
    assert not compared(days(), change).drifted


def test_weather_raises_the_limit():
    calm, windy = compared(days()), [compared(days(seed, weather=1.0)) for seed in range(12)]
    assert sum(found.drifted for found in windy) <= 1
    assert max(found.limit for found in windy) > calm.limit


def test_too_little_is_not_compared():
    assert compared(days(per_day=5)) is None
    assert compared(days(), schema=FeatureSchema(("a",), ())) is None
    assert compared(days().assign(b=1.0, c=2.0, d=3.0, k="x")) is None
    few = days(days=DAYS + WEEK).query(f"event_time >= '{BATCH.start - pd.Timedelta(days=2)}'")
    found = compared(few, lambda batch: batch.assign(b=-batch["b"]))
    assert found is None or (found.limit is None and not found.drifted and "too few blocks" in found.words)


@given(st.sampled_from(["a", "b", "c", "d"]), st.floats(0.01, 100), st.floats(-100, 100))
def test_a_rising_function_of_a_column_changes_nothing(column, scale, level):
    frame = days(days=DAYS + WEEK, per_day=12)
    plain = compared(frame)
    moved = compared(frame, lambda batch: batch.assign(**{column: batch[column] * scale + level}))
    assert moved.auc == pytest.approx(plain.auc)


def drifted(*columns):
    checks = tuple(ColumnDrift(name, "psi", 0.5, 0.1, True) for name in columns)
    return DriftResult(True, "moved", checks, 500, 500)


def test_drifted_columns_are_compared_with_a_year_ago():
    scores = {c: DriftScore(c, "psi", v, 10, 500, 500) for c, v in {"a": 0.02, "b": 0.3, "c": 0.01}.items()}
    found = with_year_ago(drifted("a", "b", "c"), scores, BATCH, 500)
    assert found.year_ago.drifted == ("b",)
    assert found.noted == (f"2 of the 3 columns that drifted are as a year before, in {BATCH}; not b",)
    assert found.shifted
    assert from_plain(DriftResult, to_plain(found)) == found
    assert with_year_ago(drifted("a"), scores, BATCH, 500).noted == (
        f"1 of the 1 columns that drifted is as a year before, in {BATCH}",
    )
    assert with_year_ago(drifted(), scores, BATCH, 500).year_ago is None
    assert with_year_ago(drifted("a"), scores, BATCH, 20).year_ago is None
