"""Several workers on one home with PostgreSQL: each batch, retrain and promotion happens once, whoever is killed."""

from datetime import timedelta

import pytest

from tests import buckets
from tests.faults.workers import laid_out, play

KEY = "11" * 32


@pytest.fixture
def places(request, new_database):
    """Where the home is: a folder that the workers share, or a bucket."""
    if request.param == "folder":
        yield {"database_url": new_database()}
        return
    with buckets.running() as server:
        address, models = server.bucket() + "/home", new_database()
        yield {"home": address, "database_url": new_database(), "mlflow_uri": models, "ledger_key": KEY}


@pytest.mark.parametrize(
    ("places", "workers", "rounds"),
    [
        ("folder", 2, 3),
        pytest.param("folder", 2, 50, marks=pytest.mark.thorough),
        pytest.param("folder", 4, 50, marks=pytest.mark.thorough),
        pytest.param("bucket", 2, 3, marks=pytest.mark.thorough),
        pytest.param("bucket", 4, 3, marks=pytest.mark.thorough),
    ],
    indirect=["places"],
)
@pytest.mark.usefixtures("homes")  # which have imported everything
def test_each_batch_retrain_and_promotion_happens_once(places, tmp_path, workers, rounds):
    shared = laid_out(tmp_path, rounds, **places)
    counts = play(shared, workers, rounds, seed=workers)
    print(f"{workers} workers, {rounds} rounds: {dict(counts)}")
    assert sum(counts.values()) == workers * rounds
    assert (
        sum(n for what, n in counts.items() if what.startswith("killed")) >= rounds // 3
    )  # a worker that is doomed may end before its moment


@pytest.mark.thorough
@pytest.mark.parametrize("hours", [1, -1])
@pytest.mark.parametrize("places", ["bucket"], indirect=True)
@pytest.mark.usefixtures("homes")
def test_a_worker_with_a_wrong_clock_changes_nothing(places, tmp_path, hours):
    shared = laid_out(tmp_path, 2, timedelta(hours=hours), **places)
    assert sum(play(shared, 2, 2, seed=5).values()) == 4
