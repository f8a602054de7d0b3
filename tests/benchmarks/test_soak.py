"""Ten days of daily batches through the real stack, unattended, with its servers killed; `make soak` is a year."""

import pytest

from benchmarks.soak import Soak

pytestmark = pytest.mark.thorough


def test_every_batch_is_handled_exactly_once_although_servers_are_killed(tmp_path):
    soak = Soak(tmp_path, days=10, kills=2, seed=9, at_once=4, every={"reconcile": 45, "run": 600}, lean=True)
    found = soak.run()
    print(found)
    assert found["problems"] == []
    assert len(found["kills"]) == 2
    assert all(kill["next_run_after_s"] is not None for kill in found["kills"])
    assert found["decisions"]["promoted"] >= 1
    assert found["restarts"]["worker"] + found["restarts"]["prefect"] >= 2
