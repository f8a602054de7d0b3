"""What is usual of a stream's batches: clean ones rarely fall outside, and what people call broken does."""

import json
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import messy
from trueup.config.sections.features import FeaturesConfig
from trueup.domain.monitoring.batch_profile import HASHES, Profile, partial_ends, profile
from trueup.domain.monitoring.learned_bounds import (
    CONSTANT,
    MISSING,
    NEW,
    OUTSIDE,
    ROWS,
    UNIT,
    Earlier,
    Oddity,
    learn,
    unusual,
)
from trueup.domain.profiling import learned_expectations
from trueup.domain.records import from_json, to_plain
from trueup.domain.types import Window

KNOWN, LATER = 12, 8  # weeks
NUMERIC, KINDS = ["amount", "km", "items", "balance", "delay", "rare"], ["city", "kind", "customer", "order"]


def stream(seed: int) -> pd.DataFrame:
    """A clean stream with what clean streams have: tails, few of a kind, missing values, and batches that differ."""
    rng = np.random.default_rng(seed)
    frame = messy.orders(days=7 * (KNOWN + LATER), per_day=int(rng.integers(20, 60)), seed=seed)
    n, week = len(frame), ((frame["ordered"] - messy.START).dt.days // 7).to_numpy()
    moved = rng.normal(0, rng.choice([0.0, 0.1]), week.max() + 1)[week]
    return frame.assign(
        balance=rng.normal(size=n) + moved,
        delay=np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(1, 0.9, n)),
        rare=(rng.random(n) < 0.02).astype(float),
        kind=rng.choice([*"abcdefgh"], n, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.03, 0.015, 0.005]),
        customer=rng.integers(0, 900, n),
        order=np.arange(n),
    )


def weeks(frame: pd.DataFrame) -> list[pd.DataFrame]:
    return [b for _, b in frame.groupby((frame["ordered"] - messy.START).dt.days // 7)]


def summed_up(batch: pd.DataFrame) -> Profile:
    return profile(batch, batch["ordered"], NUMERIC, KINDS)


def judged(batches: list[pd.DataFrame]) -> list[list[Oddity]]:
    """Each batch from the fifth on as the loop judges it: by those before it."""
    earlier, found = list[Earlier](), list[list[Oddity]]()
    for summary in map(summed_up, batches):
        odd = unusual(summary, learn(earlier))
        found.append(odd)
        earlier.append(Earlier(summary, frozenset(o.column for o in odd)))
    return found


def _some(batch: pd.DataFrame, share: float) -> np.ndarray:
    return np.random.default_rng(1).random(len(batch)) < share


FAULTS = {
    "unit x1000": (UNIT, "amount", lambda b: b.assign(amount=b["amount"] * 1000)),
    "unit x2.54": (UNIT, "km", lambda b: b.assign(km=b["km"] * 2.54)),
    "unit x2.54 about zero": (UNIT, "balance", lambda b: b.assign(balance=b["balance"] * 2.54)),
    "unit /2.54": (UNIT, "amount", lambda b: b.assign(amount=b["amount"] / 2.54)),
    "half of the rows": (ROWS, "", lambda b: b.iloc[::2]),
    "missing burst": (MISSING, "amount", lambda b: b.assign(amount=b["amount"].mask(_some(b, 0.3)))),
    "no values": (MISSING, "kind", lambda b: b.assign(kind=None)),
    "new categories": (NEW, "city", lambda b: b.assign(city=b["city"].mask(_some(b, 0.3), "Oslo"))),
    "new entities": (NEW, "customer", lambda b: b.assign(customer=b["customer"] + 10_000)),
    "sentinel flood": (OUTSIDE, "km", lambda b: b.assign(km=b["km"].mask(_some(b, 0.2), -200))),
    "stuck": (CONSTANT, "balance", lambda b: b.assign(balance=0.1)),
    "one kind": (CONSTANT, "kind", lambda b: b.assign(kind="a")),
}


@pytest.mark.slow
def test_clean_batches_are_rarely_unusual_and_planted_faults_are():
    streams = [weeks(stream(seed)) for seed in range(10)]
    clean = [odd for batches in streams for odd in judged(batches)]
    assert np.mean([bool(odd) for odd in clean]) <= 0.01, [o for odd in clean for o in odd]
    learned = [learn([Earlier(summed_up(b)) for b in batches[:KNOWN]]) for batches in streams]
    for fault, (kind, column, plant) in FAULTS.items():
        found = [
            unusual(summed_up(plant(batches[KNOWN])), usual) for batches, usual in zip(streams, learned, strict=True)
        ]
        caught = [any((o.kind, o.column) == (kind, column) for o in odd) for odd in found]
        assert np.mean(caught) >= 0.95, (fault, caught, found)
        assert {o.column for odd in found for o in odd} <= {column}, (fault, found)


def batch(n: int = 200, seed: int = 0, **columns) -> pd.DataFrame:
    """One batch with a numeric column x, or with others."""
    rng = np.random.default_rng(seed)
    made = {name: values(rng, n) if callable(values) else values for name, values in columns.items()}
    return pd.DataFrame({"t": [datetime(2024, 1, 1)] * n, **(made or {"x": rng.normal(50, 10, n)})})


def of(frame: pd.DataFrame) -> Profile:
    numeric = [c for c in frame if pd.api.types.is_numeric_dtype(frame[c])]
    return profile(frame, frame["t"], numeric, [c for c in frame if c != "t" and c not in numeric])


def kinds(found: list[Oddity]) -> list[tuple[str, str]]:
    return [(o.column, o.kind) for o in found]


def test_a_feature_that_shifts_is_not_unusual():
    """Drift is judged elsewhere: a level that moves by two deviations, or a season, is the world's own doing."""
    usual = learn([Earlier(of(batch(seed=s))) for s in range(8)])
    assert not unusual(of(batch(seed=9).assign(x=lambda b: b["x"] + 20)), usual)
    degrees = [batch(seed=m, x=lambda r, n, m=m: r.normal(10 - 10 * np.cos(m / 6 * np.pi), 4, n)) for m in range(24)]
    assert not any(judged_alone(degrees))


def judged_alone(batches: list[pd.DataFrame]) -> list[list[Oddity]]:
    profiles = [of(b) for b in batches]
    return [unusual(p, learn([Earlier(e) for e in profiles[:i]])) for i, p in enumerate(profiles)]


def test_growth_is_not_another_unit():
    prices = [batch(seed=m, x=lambda r, n, m=m: r.lognormal(3 + 0.05 * m, 0.5, n)) for m in range(40)]
    assert not any(judged_alone(prices))


@pytest.mark.parametrize("slope", [1.0, -1.0])
def test_a_column_with_a_trend_is_judged_by_its_changes(slope):
    """A date written as a number, or a counter, leaves every range that it had."""

    def days(m: int, jump: float = 0.0) -> pd.DataFrame:
        return batch(seed=m, x=lambda r, n: slope * (np.sort(r.uniform(m, m + 1, n)) + jump))

    months = [days(m) for m in range(40)]
    assert not any(judged_alone(months))
    usual = learn([Earlier(of(b)) for b in months])
    assert usual.trend["x"]
    assert kinds(unusual(of(days(40, jump=30.0)), usual)) == [("x", OUTSIDE)]


def test_a_column_with_a_trend_gets_no_fixed_range_in_a_new_config():
    rows = pd.concat(
        [
            batch(seed=m, x=lambda r, n, m=m: r.uniform(m, m + 1, n), y=lambda r, n: r.normal(size=n))
            for m in range(1, 9)
        ]
    )
    times = pd.Series([datetime(2024, m, 1) for m in range(1, 9) for _ in range(200)])
    learned = learned_expectations.learn(
        rows.reset_index(drop=True), times, "month", FeaturesConfig(numeric=["x", "y"])
    )
    ranged = [r.kwargs["column"] for r in learned.rules if r.type == "expect_column_values_to_be_between"]
    assert ranged == ["y"]
    assert any("x moves one way" in said for said in learned.left_out)


def test_a_column_that_is_constant_now_and_then_may_be_constant():
    rain = [batch(seed=m, x=lambda r, n, m=m: r.lognormal(0, 1, n) * (r.random(n) < 0.02 * (m % 4))) for m in range(20)]
    assert not any(judged_alone(rain))


def test_lone_outliers_and_batches_that_were_unusual_widen_no_bound():
    plain = [of(batch(seed=s)) for s in range(8)]
    outlier = of(batch(seed=3).assign(x=lambda b: b["x"].where(b.index > 0, 1e9)))
    shaken = [Earlier(p) for p in plain[:-1]] + [Earlier(outlier)]
    assert learn(shaken).range["x"] == pytest.approx(learn([Earlier(p) for p in plain]).range["x"], rel=0.2)
    thousandfold = of(batch(seed=5).assign(x=lambda b: b["x"] * 1000))
    assert kinds(unusual(thousandfold, learn(shaken))) == [("x", UNIT)]
    left_out = [*shaken, Earlier(thousandfold, frozenset({"x"}))]
    assert kinds(unusual(thousandfold, learn(left_out))) == [("x", UNIT)]


def test_bounds_are_rounded_away_from_what_was_seen():
    """A column of hardly any width is inside its own bounds."""
    places = [of(batch(seed=s, x=lambda r, n: -122.2 + 0.05 * r.normal(size=n))) for s in range(13)]
    low, high = learn([Earlier(p) for p in places]).range["x"]
    assert low < -122.4
    assert high > -122.0
    assert not any(unusual(p, learn([Earlier(p) for p in places])) for p in places)


def test_few_batches_teach_nothing():
    three = learn([Earlier(of(batch(seed=s))) for s in range(3)])
    assert not unusual(of(batch(seed=9).assign(x=1e9)), three)
    assert three.rows is None


def test_keys_that_are_new_in_each_batch_are_usual():
    ids = [batch(seed=s, key=lambda r, n: r.integers(0, 10**12, n).astype(str)) for s in range(8)]
    assert not any(judged_alone(ids))
    people = [batch(n=900, seed=s, who=lambda r, n: (r.integers(0, 3000, n)).astype(str)) for s in range(8)]
    assert not any(judged_alone(people))
    others = people[-1].assign(who="new " + people[-1]["who"])
    assert kinds(judged_alone([*people, others])[-1]) == [("who", NEW)]


def test_the_parts_of_a_period_at_both_ends_are_recognised():
    weeks_ = [
        Window(datetime(2024, 1, 1) + timedelta(weeks=i), datetime(2024, 1, 8) + timedelta(weeks=i)) for i in range(5)
    ]

    def ends(first_day, last_day):
        days = [(0, 7)] * 5
        days[0], days[-1] = (first_day, 7), (0, last_day)
        frames = [
            pd.DataFrame(
                {"t": pd.date_range(w.start + timedelta(days=a), w.start + timedelta(days=b), 50, inclusive="left")}
            )
            for w, (a, b) in zip(weeks_, days, strict=True)
        ]
        return partial_ends(weeks_, [profile(f, f["t"], [], []) for f in frames])

    assert ends(0, 7) == (False, False)
    assert ends(5, 7) == (True, False)
    assert ends(0, 2) == (False, True)


@given(
    numbers=st.lists(st.one_of(st.floats(), st.none()), max_size=40),
    texts=st.lists(st.one_of(st.text(max_size=5), st.none(), st.integers(), st.booleans()), min_size=40, max_size=40),
)
def test_any_batch_can_be_summed_up_and_judged_and_kept(numbers, texts):
    n = len(numbers)
    frame = pd.DataFrame(
        {
            "t": pd.Series([datetime(2024, 1, 1)] * n, dtype="datetime64[us]"),
            "x": pd.Series(numbers, dtype="float64"),
            "c": pd.Series(texts[:n], dtype=object),
        }
    )
    found = profile(frame, frame["t"], ["x"], ["c"])
    assert from_json(Profile, json.dumps(to_plain(found), allow_nan=False)) == found
    assert found.numbers["x"].n + found.numbers["x"].missing == n
    assert all(h < HASHES for h in found.values["c"].sketch)
    usual = learn([Earlier(found)] * 5)
    json.dumps(usual.shown(), allow_nan=False)
    assert not unusual(found, usual)
