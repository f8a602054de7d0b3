"""What of drift needs no Evidently: column checks, cells, limits and the verdict."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from trueup.config.sections.monitoring import DriftConfig
from trueup.config.tasks import Task
from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.cells import MAX_CATEGORIES, OTHER, comparable
from trueup.domain.monitoring.drift import (
    JENSEN_SHANNON,
    PSI,
    DriftScore,
    column_checks,
    judge_drift,
    prediction_and_label_shift,
    sample,
)
from trueup.domain.monitoring.reference_rows import Reference
from trueup.domain.records import to_plain
from trueup.domain.types import Status

CONFIG = DriftConfig()
SCHEMA = FeatureSchema(("x", "y"), ("c",))


def frame(n=500, seed=0, **changed):
    rng = np.random.default_rng(seed)
    columns = {"x": rng.normal(size=n), "y": rng.exponential(size=n), "c": rng.choice(list("abcd"), n)}
    return pd.DataFrame({**columns, **changed})


def checks(reference, current, schema=SCHEMA):
    return {(c.column, c.check): c for c in column_checks(Reference.of(reference), current, schema, CONFIG)}


def judged(reference, current, scores=None):
    found = column_checks(Reference.of(reference), current, SCHEMA, CONFIG)
    return judge_drift(scores or {}, found, len(reference), len(current), CONFIG)


def psi(column, value, n=5_000, m=5_000, cells=10):
    return DriftScore(column, PSI, value, cells, m, n)


def test_an_empty_batch_is_no_data_and_not_no_drift():
    found = judged(frame(), frame().iloc[:0])
    assert found.shifted is None
    assert "no data" in found.reason
    assert found.verdict.status is Status.INCONCLUSIVE


@pytest.mark.parametrize("n", [1, 2, 29])
def test_few_rows_are_inconclusive_however_far_they_moved(n):
    found = judged(frame(), frame(n, x=1e6), {"x": psi("x", 9.0, n)})
    assert found.shifted is None
    assert found.verdict.status is Status.INCONCLUSIVE
    assert "at least 30" in found.reason


def test_half_the_values_missing_is_drift():
    now = frame(seed=1)
    for column in SCHEMA.names:
        found = judged(frame(), now.assign(**{column: now[column].where(np.arange(len(now)) % 2 == 0)}))
        assert found.shifted, column
        assert found.drifted == (column,)
        assert "missing 50.0%, was 0.0%" in found.reason


def test_values_that_come_back_are_drift_too_and_a_steady_share_is_not():
    gaps = frame(x=np.where(np.arange(500) % 2, np.nan, 1.0))
    assert judged(gaps, frame(seed=1)).drifted == ("x",)
    assert not judged(gaps, gaps).drifted


def test_a_column_that_is_gone_counts_as_missing_and_text_among_numbers_is_no_number():
    assert checks(frame(), frame().drop(columns="x"))["x", "missing"].drifted
    text = frame().assign(x="broken")
    before, now = comparable(frame(), text, SCHEMA)
    assert now["x"].isna().all()
    assert before["x"].notna().all()


def test_new_categories_are_drift():
    found = judged(frame(), frame(c=[f"new {i}" for i in range(500)]))
    assert found.shifted
    assert found.drifted == ("c",)
    assert "500 new categories in 100.0% of the rows" in found.reason


@pytest.mark.parametrize("n", [100, 1_000, 5_000])
def test_categories_as_rare_as_ever_are_not_new(n):
    """A column of thousands of rare values shows values that the reference lacks, always."""
    rng = np.random.default_rng(n)
    tail = lambda size: rng.zipf(1.3, size).clip(max=10**6).astype(str)  # noqa: E731
    alarms = [checks(frame(2_000, c=tail(2_000)), frame(n, c=tail(n)))["c", "new categories"] for _ in range(20)]
    assert min(a.value for a in alarms) > 0.02  # they are there,
    assert sum(a.drifted for a in alarms) <= 1  # and are no drift


def test_infinite_values_are_seen_and_counted():
    now = frame(x=np.r_[np.inf, -np.inf, np.zeros(498)])
    found = checks(frame(), now)["x", "infinite"]
    assert (found.value, found.drifted) == (2, True)
    assert "2 infinite values, none in the reference" in judged(frame(), now).reason
    assert judged(frame(), now).shifted
    assert not checks(now, now)["x", "infinite"].drifted
    assert ("x", "infinite") not in checks(now, frame())


def test_a_constant_column_is_reported():
    found = checks(frame(), frame(x=3.0, c="a"))
    assert found["x", "constant"].note == "always 3.0"
    assert found["c", "constant"].note == "always a"
    assert not found["x", "constant"].drifted
    assert ("y", "constant") not in found


def test_the_share_of_drifted_columns_decides():
    still, moved = [psi(f"s{i}", 0.01) for i in range(7)], [psi(f"m{i}", 0.3) for i in range(3)]
    by_name = lambda scores: {s.column: s for s in scores}  # noqa: E731
    assert judge_drift(by_name(still + moved), [], 5_000, 5_000, CONFIG).shifted
    found = judge_drift(by_name(still + moved[:2]), [], 5_000, 5_000, CONFIG)
    assert found.shifted is False
    assert found.verdict.ok
    assert found.reason == "2 of 9 columns drifted (m0, m1)"
    assert judge_drift(by_name(still), [], 5_000, 5_000, CONFIG.model_copy(update={"share": 0.0})).shifted is False


def test_limits_are_the_configured_ones_for_many_rows_and_wider_for_few():
    limit = lambda n, method: (  # noqa: E731
        judge_drift({"x": DriftScore("x", method, 0.12, 10, 5_000, n)}, [], 5_000, n, CONFIG).limits["x"]
    )
    for method in (PSI, JENSEN_SHANNON):
        assert limit(5_000, method) == 0.1
        assert 0.1 <= limit(300, method) < limit(100, method) < limit(30, method)


def test_a_column_with_few_values_is_not_compared():
    found = judge_drift({"x": psi("x", 5.0, n=12)}, [], 5_000, 400, CONFIG)
    assert found.shifted is None
    assert "no column" in found.reason


def test_the_result_is_plain():
    found = judged(frame(), frame(x=np.inf), {"y": psi("y", 0.2)})
    assert json.loads(json.dumps(to_plain(found), allow_nan=False))["drifted"] == ["y", "x"]


def test_the_limit_holds_without_drift():
    """PSI of deciles, 2,000 pairs of samples: the limit for one column is passed in about 1 % of them."""
    config = CONFIG.model_copy(update={"numeric_threshold": 1e-9})
    rng = np.random.default_rng(0)
    for n, m, most in ((5_000, 5_000, 0.02), (300, 300, 0.025), (100, 5_000, 0.02), (30, 5_000, 0.02)):
        a, b = (rng.multinomial(k, np.full(10, 0.1), 2_000) / k for k in (m, n))
        a, b = np.where(a == 0, 1e-4, a), np.where(b == 0, 1e-4, b)
        limit = judge_drift({"x": psi("x", 0.0, n, m)}, [], m, n, config).limits["x"]
        assert (((a - b) * np.log(a / b)).sum(axis=1) > limit).mean() <= most, (n, m)


def test_one_value_far_out_does_not_hide_that_all_others_moved():
    before, now = comparable(frame(), frame(seed=1, x=np.r_[1e12, np.random.default_rng(1).normal(2, 1, 499)]), SCHEMA)
    top = before["x"].cat.categories[-1]
    assert (before["x"] == top).mean() == pytest.approx(0.1, abs=0.01)
    assert (now["x"] == top).mean() > 0.5


@pytest.mark.parametrize("share", [0.03, 0.5, 0.97])
def test_a_value_that_fills_deciles_has_a_cell_of_its_own(share):
    rng = np.random.default_rng(0)
    flags = lambda p: (rng.random(2_000) < p).astype(float)  # noqa: E731
    before, now = comparable(frame(2_000, x=flags(share)), frame(2_000, x=1 - flags(share)), SCHEMA)
    a, b = (s["x"].value_counts(normalize=True) for s in (before, now))
    assert a[a > 0].max() == pytest.approx(max(share, 1 - share), abs=0.03)
    assert (a - b).abs().max() == pytest.approx(abs(1 - 2 * share), abs=0.05)


def test_cells_are_named_without_the_noise_of_floating_point():
    wind = np.sin(np.pi * np.arange(500)) + np.repeat([0.0, 5.0], 250)  # calm half of the time, but for 1e-14
    before, _ = comparable(frame(x=wind), frame(), SCHEMA)
    assert not [name for name in before["x"].cat.categories if "e-" in name]


def test_rare_and_new_categories_are_one():
    many = [f"k{i % 300}" for i in range(5_000)]
    before, now = comparable(frame(5_000, c=many), frame(5_000, c="never seen"), SCHEMA)
    assert len(before["c"].cat.categories) == MAX_CATEGORIES + 1
    assert (now["c"] == OTHER).all()


@given(
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(width=64)),
    hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(width=64)),
)
@example(np.array([-np.finfo(float).max]), np.zeros(1))
def test_any_numbers_fall_into_cells(a, b):
    schema = FeatureSchema(("x",), ())
    before, now = comparable(pd.DataFrame({"x": a}), pd.DataFrame({"x": b}), schema)
    for cells, values in ((before["x"], a), (now["x"], b)):
        np.testing.assert_array_equal(cells.notna(), np.isfinite(values))
        codes = cells.cat.codes.to_numpy()[np.isfinite(values)]
        assert (np.diff(codes[np.argsort(values[np.isfinite(values)], kind="stable")]) >= 0).all()  # order is kept


def test_arguments_are_left_as_they_are():
    before, now = frame(), frame(c=pd.Categorical(["a", None] * 250))
    copies = before.copy(), now.copy()
    comparable(before, now, SCHEMA)
    column_checks(Reference.of(before), now, SCHEMA, CONFIG)
    pd.testing.assert_frame_equal(before, copies[0])
    pd.testing.assert_frame_equal(now, copies[1])


def test_a_sample_has_its_size_and_is_repeatable():
    whole = frame(1_000)
    assert len(sample(whole, 100, 0)) == 100
    pd.testing.assert_frame_equal(sample(whole, 100, 0), sample(whole, 100, 0))
    assert sample(whole, 1_000, 0) is whole


def test_prediction_and_label_shift_inform():
    rng = np.random.default_rng(0)
    p = rng.random(1_000)
    same = {m.name: m.value for m in prediction_and_label_shift(Task.BINARY, (p, p), (p > 0.5, p > 0.5))}
    assert set(same.values()) == {0.0}
    moved = prediction_and_label_shift(Task.REGRESSION, (p, p + 2), (p, []))
    assert {m.name: round(m.value, 6) for m in moved} == {"prediction_shift": 1.0, "prediction_mean_change": 2.0}
    apart = prediction_and_label_shift(Task.MULTICLASS, (["a"] * 9, ["b"] * 9), (["a", "b"], ["b", "a"]))
    assert {m.name: round(m.value, 6) for m in apart} == {"prediction_shift": 1.0, "label_shift": 0.0}
