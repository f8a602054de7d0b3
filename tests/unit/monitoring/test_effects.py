"""What the movement of each column does to the predictions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.domain.features.features import FeatureSchema
from trueup.domain.monitoring.drift import DriftResult, with_effects
from trueup.domain.monitoring.effects import changed_back, explain_change, signed
from trueup.domain.records import from_plain, to_plain

SCHEMA = FeatureSchema(("x", "y", "z"), ("c",))
WEIGHTS = {"a": 0.0, "b": 1.0, "d": 3.0}


def frame(n=2_000, seed=0, **changed):
    rng = np.random.default_rng(seed)
    columns = {name: rng.normal(size=n) for name in "xyz"} | {"c": rng.choice(["a", "b"], n)}
    return pd.DataFrame({**columns, **changed})


def added(rows):
    """A model without interactions: z is not used."""
    return (2 * rows["x"].fillna(0) - rows["y"].fillna(5) + rows["c"].astype(object).map(WEIGHTS).fillna(-1)).to_numpy()


def explained(reference, current, predict=added, **more):
    return explain_change(reference, current, SCHEMA, predict, ["x"], **more)


def by_column(found):
    return {e.column: e.effect for e in found.effects}


def test_an_effect_is_what_the_movement_changes_and_a_column_that_is_not_used_has_none():
    now = frame(seed=1)
    now = now.assign(x=now["x"] + 1, z=now["z"] + 10, c=np.where(np.arange(len(now)) % 4, "a", "b"))
    found = explained(frame(), now)
    assert list(by_column(found)) == ["x", "c"]
    assert found.effects[0].effect == pytest.approx(2, abs=0.1)
    assert found.effects[1].effect == pytest.approx(-0.25, abs=0.05)  # b from a half to a quarter of the rows
    assert found.others < 0.1
    assert abs(found.remainder) < 0.1
    assert sum(e.share for e in found.effects) == pytest.approx(1, abs=0.1)
    assert found.words.startswith("two matter: x moves predictions by +")
    assert found.effects[0].words.startswith("x moved, and moves predictions by +")
    assert found.effects[1].words.startswith("c did not drift, but moves predictions by -0.2")


def test_an_interaction_is_shared_and_the_effects_still_add_up():
    """Of a product each factor alone explains more than half: knocked out one by one, the effects exceed the change."""
    product = lambda rows: (rows["x"] * rows["y"]).to_numpy()  # noqa: E731
    now = frame(seed=1)
    now = now.assign(x=now["x"] + 2, y=now["y"] + 2)
    found = explained(frame(), now, product)
    assert found.change == pytest.approx(4, abs=0.3)
    assert by_column(found) == {"x": pytest.approx(2, abs=0.3), "y": pytest.approx(2, abs=0.3)}
    assert abs(found.remainder) < 0.3


def test_a_change_of_dependence_alone_is_a_remainder_and_no_columns_effect():
    product = lambda rows: (rows["x"] * rows["y"]).to_numpy()  # noqa: E731
    now = frame(seed=1)
    found = explained(frame(), now.assign(y=now["x"]), product)
    assert found.change == pytest.approx(1, abs=0.2)
    assert found.effects == ()
    assert found.remainder == pytest.approx(1, abs=0.2)


def test_missing_values_and_new_categories_have_effects():
    now = frame(seed=1)
    now = now.assign(y=now["y"].where(np.arange(len(now)) % 2 == 0), c=np.where(now["c"] == "b", "d", now["c"]))
    found = by_column(explained(frame(), now))
    assert found == {"y": pytest.approx(-2.5, abs=0.2), "c": pytest.approx(1, abs=0.2)}
    back = by_column(explained(now, frame(seed=2)))  # and the other way round
    assert back == {"y": pytest.approx(2.5, abs=0.2), "c": pytest.approx(-1, abs=0.2)}


def test_of_a_multiclass_model_the_class_with_the_largest_change_is_explained():
    def shares(rows):
        p = 1 / (1 + np.exp(-rows["x"].to_numpy()))
        return np.column_stack([0.1 * np.ones_like(p), 0.6 * p, 0.9 - 0.6 * p])

    now = frame(seed=1)
    found = explained(frame(), now.assign(x=now["x"] + 2), shares, classes=["low", "mid", "high"])
    assert found.target in ("mid", "high")
    assert f"x moves the probability of {found.target} by" in found.words
    assert list(by_column(found)) == ["x"]


def test_nothing_is_computed_when_nothing_moved():
    calls = []

    def counted(rows):
        calls.append(len(rows))
        return added(rows)

    assert explain_change(frame(), frame(seed=3), SCHEMA, counted) is None
    assert calls == [2_000, 2_000]


def test_samples_without_movement_have_effects_rarely():
    """At most 1 % of comparisons may name a column: of 60 that is none or one, three at most by chance."""
    named = [explained(frame(800, s), frame(700, s + 1_000)).effects for s in range(60)]
    assert sum(map(bool, named)) <= 3


def test_a_wide_table_is_predicted_in_pieces():
    names = tuple(f"x{i}" for i in range(120))
    rng = np.random.default_rng(0)
    before, now = (pd.DataFrame(rng.normal(size=(600, 120)) + shift, columns=names) for shift in (0, 1))
    largest = []

    def total(rows):
        largest.append(rows.size)
        return rows.to_numpy().sum(axis=1)

    found = explain_change(before, now, FeatureSchema(names, ()), total, names)
    assert max(largest) <= 4_000_000
    assert found.change == pytest.approx(sum(e.effect for e in found.effects), abs=2)
    assert "each other column moves them by at most" in found.words


def test_a_side_without_rows_is_refused():
    with pytest.raises(ValueError, match="rows on both sides"):
        explained(frame(), frame().iloc[:0])


cells = st.one_of(st.none(), st.integers(-3, 3), st.floats(-1e6, 1e6), st.just(np.inf))
columns = st.lists(cells, min_size=1, max_size=40).map(lambda v: pd.Series(v, dtype=float))
texts = st.lists(st.one_of(st.none(), st.sampled_from("abcd")), min_size=1, max_size=40).map(
    lambda v: pd.Series(v, dtype=object)
)


@given(columns | texts, st.integers(0, 5))
def test_a_column_with_the_same_values_in_another_order_does_not_change(values, seed):
    rng = np.random.default_rng(seed)
    now = values.iloc[rng.permutation(len(values))].reset_index(drop=True)
    numeric = values.dtype == float
    back = changed_back(values, now, numeric, rng)
    taken = pd.concat([values, now], ignore_index=True).iloc[back].reset_index(drop=True)
    pd.testing.assert_series_equal(taken, now)


@given(st.one_of(st.tuples(columns, columns), st.tuples(texts, texts)), st.integers(0, 5))
def test_a_column_changed_back_has_the_shares_of_the_reference(sides, seed):
    before, now = sides
    numeric = before.dtype == float
    back = changed_back(before, now, numeric, np.random.default_rng(seed))
    taken = pd.concat([before, now], ignore_index=True).iloc[back]
    assert len(taken) == len(now)
    assert abs(taken.isna().mean() - before.isna().mean()) <= 1 / len(now) + 1e-9
    values = set(before.dropna())
    assert set(taken.dropna()) <= values or not values
    for value in values if not numeric else ():
        assert abs((taken == value).mean() - (before == value).mean()) <= 1 / len(now) + 1e-9


@settings(max_examples=30)
@given(st.integers(0, 100), st.floats(-3, 3), st.floats(0.1, 3))
def test_effects_and_remainder_add_up_to_the_change(seed, shift, scale):
    model = lambda rows: np.tanh(rows["x"] * rows["y"] + rows["z"]).to_numpy()  # noqa: E731
    now = frame(300, seed + 1)
    found = explained(frame(300, seed), now.assign(x=now["x"] * scale + shift, y=now["y"] + shift), model)
    named = sum(e.effect for e in found.effects)
    unnamed = 4 - len(found.effects)
    assert abs(found.change - named - found.remainder) <= unnamed * found.others + 1e-9


def test_the_words_of_a_regression_have_its_unit():
    now = frame(seed=1)
    found = explained(frame(), now.assign(x=now["x"] - 4), unit="minutes")
    assert "x moves predictions by -8" in found.words
    assert " minutes" in found.words
    assert signed(1234.5, "minutes") == "+1,234 minutes"


def test_the_reason_of_a_drift_names_the_columns_that_matter_and_survives_as_json():
    now = frame(seed=1)
    drift = DriftResult(True, "1 of 4 columns drifted (x)", (), 2_000, 2_000, "June", columns=4)
    found = with_effects(drift, explained(frame(), now.assign(x=now["x"] + 1)))
    assert found.reason.startswith("0 of 4 columns drifted from June before; one matters: x moves predictions by +")
    assert from_plain(DriftResult, to_plain(found)) == found
    unknown = with_effects(drift, "UntrustedModel: changed")
    assert unknown.reason.endswith("; what this does to predictions is unknown: UntrustedModel: changed")
    assert unknown.effects == ()
