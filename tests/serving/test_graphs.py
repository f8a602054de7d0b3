"""The faulty graphs do what they say: tests of rollouts rely on them."""

import numpy as np
import pytest

from tests.edge import bundles
from tests.serving import graphs
from trueup.ledger.signing import Keys, open_signer
from trueup_edge import load
from trueup_edge.bundle import open_bundle
from trueup_edge.self_test import self_test
from trueup_edge.trust import read_anchor

WIDTH = 5
ROWS = np.random.default_rng(3).normal(size=(4000, WIDTH))
ROWS[::7, 2] = np.nan
RIGHT = bundles.trees(WIDTH)


def predicted(graph, rows=ROWS):
    return graphs.open_session(graph).run(None, {"features": rows})[0][:, 0]


def one_by_one(graph, rows):
    session = graphs.open_session(graph)
    for row in rows:
        try:
            yield session.run(None, {"features": row[None]})[0].item()
        except Exception:
            yield None


def test_a_share_of_the_rows_raises_and_the_others_are_right():
    faulty = graphs.raising(RIGHT, 0.03)
    answers = list(one_by_one(faulty, ROWS))
    failed = np.array([answer is None for answer in answers])
    assert failed.mean() == pytest.approx(0.03, abs=0.01)
    assert [a for a in answers if a is not None] == pytest.approx(predicted(RIGHT)[~failed], abs=1e-12)
    with pytest.raises(Exception, match=r"out of data bounds|out of bounds"):
        predicted(graphs.raising(RIGHT))


def test_a_share_of_the_rows_is_nan_and_the_same_each_time():
    once, again = predicted(graphs.nan(RIGHT, 0.01)), predicted(graphs.nan(RIGHT, 0.01))
    assert np.array_equal(once, again, equal_nan=True)
    assert np.isnan(once).mean() == pytest.approx(0.01, abs=0.006)
    assert np.array_equal(once[~np.isnan(once)], predicted(RIGHT)[~np.isnan(once)])


def test_predictions_are_shifted_within_bounds():
    moved = predicted(graphs.shifted(RIGHT, 0.2, high=1.0))
    assert moved == pytest.approx(np.minimum(predicted(RIGHT) + 0.2, 1.0), abs=1e-12)


def test_a_probability_mixed_with_noise_has_a_larger_loss():
    truth = predicted(RIGHT)
    mixed = predicted(graphs.worse(RIGHT, 0.3))
    noise = (mixed - 0.7 * truth) / 0.3
    assert 0 <= noise.min() < 0.02
    assert 0.98 < noise.max() < 1
    assert abs(np.corrcoef(noise, truth)[0, 1]) < 0.1

    def loss(p):
        return -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()

    assert loss(mixed) > loss(truth) + 0.01


def test_a_scattered_probability_has_the_same_mean_and_stays_one():
    truth = predicted(RIGHT)
    parts = (predicted(graphs.scattered(RIGHT, 0.9)) - truth) / np.minimum(truth, 1 - truth)
    assert abs(parts.mean()) < 0.04
    assert -0.9 <= parts.min() < -0.88
    assert 0.88 < parts.max() <= 0.9


def test_a_slow_graph_takes_longer_and_predicts_the_same():
    faulty = graphs.slow_by_turns(RIGHT, 400, share=0.5)
    assert np.array_equal(predicted(faulty), predicted(RIGHT))
    session = graphs.open_session(faulty)
    chosen = ROWS[np.isnan(predicted(graphs.nan(RIGHT, 0.5)))][0]
    other = ROWS[~np.isnan(predicted(graphs.nan(RIGHT, 0.5)))][0]
    assert graphs.seconds(session, chosen[None]) > 10 * graphs.seconds(session, other[None])


def test_a_slow_graph_takes_about_the_time_that_was_asked_for():
    taken = graphs.seconds(graphs.open_session(graphs.slow(RIGHT, 0.02)), ROWS[:1])
    assert 0.005 < taken < 0.1


def test_a_planted_graph_passes_the_self_test_of_its_bundle(tmp_path):
    folder = bundles.write(tmp_path / "bundle")
    signer = open_signer(tmp_path, Keys("01" * 32))
    digest = graphs.plant(folder, signer, lambda right: graphs.nan(right, 0.3), version=7)
    anchor = bundles.trust(tmp_path / "trust.json")
    bundle = open_bundle(folder, read_anchor(anchor))
    assert (bundle.manifest.digest, bundle.manifest.version) == (digest, 7)
    assert 1 <= self_test(bundle).rows <= len(bundles.ROWS)
    model = load(folder, anchor)
    predictions = [model.predict({"distance": float(miles)}) for miles in range(200)]
    assert 0.1 < np.isnan(predictions).mean() < 0.5


def test_a_graph_without_a_row_for_the_self_test_is_not_planted(tmp_path):
    folder = bundles.write(tmp_path / "bundle")
    with pytest.raises(ValueError, match="no row of the self-test"):
        graphs.plant(folder, open_signer(tmp_path, Keys("01" * 32)), graphs.raising)
