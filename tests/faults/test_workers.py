"""Several workers on one home with PostgreSQL: each batch, retrain and promotion happens once, whoever is killed."""

import pytest

from tests.faults.workers import laid_out, play


@pytest.mark.parametrize(
    ("workers", "rounds"),
    [
        (2, 3),
        pytest.param(2, 50, marks=pytest.mark.thorough),
        pytest.param(4, 50, marks=pytest.mark.thorough),
    ],
)
@pytest.mark.usefixtures("homes")  # which have imported everything
def test_each_batch_retrain_and_promotion_happens_once(new_database, tmp_path, workers, rounds):
    shared = laid_out(tmp_path, new_database(), rounds)
    counts = play(shared, workers, rounds, seed=workers)
    print(f"{workers} workers, {rounds} rounds: {dict(counts)}")
    assert sum(counts.values()) == workers * rounds
    assert (
        sum(n for what, n in counts.items() if what.startswith("killed")) >= rounds // 3
    )  # a worker that is doomed may end before its moment
