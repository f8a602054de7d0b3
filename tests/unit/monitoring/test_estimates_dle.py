"""Direct loss estimation on made-up regressions whose errors are known."""

from datetime import timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.domain.monitoring.estimates.dle import Dle

DAYS, PER_DAY = 28, 60
SETTINGS = {"block": timedelta(days=1), "confidence": 0.95, "seed": 0, "min_change": 0.02}


def rows(seed: int, days: int = DAYS, wide: float = 0.3, first: int = 0, per_day: int = PER_DAY) -> pd.DataFrame:
    """A champion that predicts well, but where `kind` is b: there its error has four times the spread."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    kind = rng.choice(["a", "b"], n, p=[1 - wide, wide])
    x = rng.normal(size=n)
    y = 3 * x + rng.normal(size=n) * np.where(kind == "b", 4.0, 1.0)
    moment = pd.Timestamp("2024-01-01") + pd.to_timedelta(first * 86_400 + np.arange(n) * (86_400 / per_day), "s")
    return pd.DataFrame({"x": x, "kind": kind, "y": y, "p": 3 * x, "at": moment})


def fitted(gate: pd.DataFrame, **changes) -> Dle:
    return Dle.fit(gate["y"], gate["p"], gate[["x", "kind"]], gate["at"], **{**SETTINGS, **changes})


@cache
def shared() -> Dle:
    return fitted(rows(1))


def estimated(dle: Dle, batch: pd.DataFrame):
    return dle.estimate(batch["p"], batch[["x", "kind"]], batch["at"])


def checked(dle: Dle, batch: pd.DataFrame):
    return dle.check(batch["y"], batch["p"], batch[["x", "kind"]], batch["at"])


@pytest.fixture(scope="module")
def dle():
    return shared()


def test_a_batch_like_the_gate_has_its_figures(dle):
    made = estimated(dle, rows(2, days=7, first=40))
    assert (made.method, made.rows, made.worse) == ("dle", 7 * PER_DAY, False)
    assert [m.name for m in made.metrics] == ["mse", "mae", "rmse"]
    truth = 0.7 * 1 + 0.3 * 16
    for figure, value in zip(made.metrics, (truth, np.sqrt(2 / np.pi) * (0.7 + 0.3 * 4), truth**0.5), strict=True):
        assert figure.low < value < figure.high
    assert "within its limit" in made.reason


def test_more_rows_that_are_predicted_badly_are_seen_without_labels(dle):
    batch = rows(3, days=14, wide=0.8, first=40)
    made = estimated(dle, batch)
    assert made.worse
    assert made.metrics[0].value == pytest.approx(0.2 + 0.8 * 16, rel=0.15)
    assert made.reason.endswith("the limit is " + made.reason.rsplit(" ", 1)[1])
    assert not checked(dle, batch).off


def test_a_month_with_larger_amounts_is_no_decay():
    """Errors grow with the prediction: where all amounts are larger, so are errors, and the model is no worse."""
    rng = np.random.default_rng(4)

    def sold(scale, days, first):
        frame = rows(int(rng.integers(99)), days, 0.0, first)
        size = scale * np.exp(rng.normal(size=len(frame)) * 0.5)
        return frame.assign(p=size, x=size, y=size * (1 + 0.2 * rng.normal(size=len(frame))))

    dle = fitted(sold(1.0, 28, 0))
    made = estimated(dle, sold(1.3, 14, 40))
    assert made.metrics[0].value > 1.2 * made.gate[0].value
    assert not made.worse
    assert "the predictions spread as well" in made.reason


def test_a_changed_relation_is_seen_only_with_labels(dle):
    batch = rows(5, days=14, first=40)
    changed = batch.assign(y=-batch["y"])
    assert estimated(dle, changed) == estimated(dle, batch)
    found = checked(dle, changed)
    assert found.off
    assert found.realised > 3 * found.estimated
    assert found.low > 0
    assert not checked(dle, batch).off


def test_few_labels_are_not_compared(dle):
    assert checked(dle, rows(6, days=1).head(10)) is None
    assert checked(dle, rows(6, days=1).head(0)) is None


def test_odd_values_are_estimated_too(dle):
    batch = rows(7, days=7).assign(kind=[None, "new"] * (7 * PER_DAY // 2), x=[np.inf, np.nan] * (7 * PER_DAY // 2))
    assert np.isfinite([m.value for m in estimated(dle, batch).metrics]).all()


def test_rows_without_a_prediction_are_left_out(dle):
    batch = rows(8, days=7)
    without = batch.assign(p=batch["p"].where(batch.index % 3 > 0))
    some = batch[batch.index % 3 > 0]
    assert estimated(dle, without) == estimated(dle, some)
    assert checked(dle, without) == checked(dle, some)
    with pytest.raises(ValueError, match="no row has a prediction"):
        estimated(dle, batch.assign(p=np.nan))


@pytest.mark.parametrize(
    ("gate", "why"),
    [
        (rows(1).head(100), "200 are needed"),
        (rows(1).assign(y=lambda f: f["p"]), "made no error"),
        (rows(1).assign(at=pd.Timestamp("2024-01-01")), "blocks of time"),
        (rows(1).assign(p=np.nan), "200 are needed"),
    ],
)
def test_rows_that_do_not_suffice_are_refused_with_the_reason(gate, why):
    with pytest.raises(ValueError, match=why):
        fitted(gate)


@pytest.mark.slow
def test_few_streams_without_change_alarm():
    """Each has two weeks of hourly rows at its gate and twelve weekly batches."""
    alarms = 0
    for seed in range(12):
        gate = fitted(rows(100 + seed, days=14, per_day=96))
        alarms += any(estimated(gate, rows(1_000 * seed + w, days=7, first=14 + 7 * w)).worse for w in range(12))
    assert alarms <= 2


@pytest.mark.slow
@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_order_of_rows_does_not_matter_and_figures_are_consistent(seed, wide):
    batch = rows(seed, days=3, wide=wide, per_day=20)
    made = estimated(shared(), batch)
    again = estimated(shared(), batch.sample(frac=1, random_state=seed))
    assert [m.value for m in again.metrics] == pytest.approx([m.value for m in made.metrics])
    mse, mae, rmse = (m.value for m in made.metrics)
    assert rmse == pytest.approx(mse**0.5)
    assert mae > 0
    assert all(m.low <= m.value <= m.high for m in made.metrics)
