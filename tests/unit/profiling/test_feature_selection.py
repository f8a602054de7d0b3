"""Which features earn their place in a loop that retrains."""

from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest

from trueup.config.sections.features import FeaturesConfig
from trueup.config.tasks import Task
from trueup.domain.profiling.columns import profile
from trueup.domain.profiling.feature_selection import Choice, Judge, choose

pytestmark = pytest.mark.slow  # each fits dozens of models

START = pd.Timestamp("2022-01-01")
DAYS = 600


def stream(seed: int, meaning: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten rows a day: `best` tells most and moves, `season` stands for its time; what `best` means for the outcome may turn once."""
    rng = np.random.default_rng(seed)
    n = DAYS * 10
    day = np.arange(n) // 10
    when = START + pd.to_timedelta(day, "D") + pd.to_timedelta(rng.integers(0, 86_400, n), "s")
    level = 4.0 * np.sin(day / 95) + day / 150
    best, other = rng.normal(size=n) + level, rng.normal(size=n)
    turn = np.where(day < 290, -2.0, 2.0) if meaning == "turns" else 2.0
    noise = rng.normal(size=n)
    amount = turn * best + other + noise
    if meaning == "nothing":
        amount = other + noise + rng.normal(size=DAYS // 20 + 1)[day // 20]
    rows = pd.DataFrame({"row_id": np.arange(n), "event_time": when, "t": when, "best": best, "other": other})
    known = when + pd.Timedelta(days=1)
    labels = pd.DataFrame({"row_id": np.arange(n), "event_time": when, "label": amount, "known_at": known})
    return rows, labels


def growing(seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The level of the outcome grows, and nothing but the newest rows says how far it is."""
    rows, labels = stream(seed, "nothing")
    day = (rows["t"] - START).dt.days
    return rows.assign(best=rows["other"] * 0 + np.random.default_rng(seed).normal(size=len(rows))), labels.assign(
        label=labels["label"] + day / 20
    )


@cache
def chosen(meaning: str, seed: int = 1) -> Choice:
    """What is chosen of `best` and `other`."""
    rows, labels = stream(seed, meaning)
    judge = Judge(rows, labels, Task.REGRESSION, timedelta(days=30), timedelta(days=1))
    assert judge.enough
    columns = profile(rows[["best", "other"]])
    base = FeaturesConfig(numeric=["best", "other"])
    return choose(judge, base, columns, [], Task.REGRESSION, [timedelta(days=28)])


def test_the_best_feature_is_kept_though_it_moves():
    found = chosen("stays")
    assert found.features.numeric == ["best", "other"]
    assert [t.what for t in found.tried if t.months is None] == ["without best, which moves in time"]
    assert found.tried[0].change > 1


def test_one_upheaval_does_not_throw_away_what_is_best_before_and_after_it():
    found = chosen("turns")
    assert found.features.numeric == ["best", "other"]


def test_a_column_that_only_tells_the_time_is_left_out_where_that_is_shown_to_help():
    found = chosen("nothing", 0)
    assert found.features.numeric == ["other"], found.tried


@pytest.mark.thorough
def test_a_column_that_tells_more_is_kept_beside_one_that_only_tells_the_time():
    assert all("other" in chosen("nothing", seed).features.numeric for seed in (1, 2))


def test_what_a_retrain_gains_and_what_a_gate_could_show_of_it_are_measured():
    power = chosen("stays").power
    assert power is not None
    assert power.gained > 0.05  # trees do not extrapolate what moves
    month, year = timedelta(days=30), timedelta(days=365)
    assert power.shown(month) > power.shown(year) > 0
    span = power.span_for(power.shown(month))
    assert span is not None
    assert abs(span - month) < timedelta(hours=1)


def judged(rows: pd.DataFrame, labels: pd.DataFrame) -> Choice:
    """What is chosen of `best` and `other` of a stream."""
    judge = Judge(rows, labels, Task.REGRESSION, timedelta(days=30), timedelta(days=1))
    base = FeaturesConfig(numeric=["best", "other"])
    return choose(judge, base, profile(rows[["best", "other"]]), [], Task.REGRESSION, [])


def test_what_grows_is_learned_from_its_newest_part():
    found = judged(*growing(1))
    assert found.window is not None
    assert found.window <= 3
    assert found.loss < found.prior


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.thorough) for seed in (1, 2, 3))])
def test_all_of_the_history_is_kept_where_nothing_changes(seed):
    rows, labels = stream(seed, "nothing")
    rng = np.random.default_rng(seed)
    steady = rows.assign(best=rng.normal(size=len(rows)))
    found = judged(steady, labels.assign(label=steady["best"] + rng.normal(size=len(rows))))
    assert found.window is None
    assert [t.months for t in found.tried]  # some were tried
