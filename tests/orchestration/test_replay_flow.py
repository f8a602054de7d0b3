"""The replay flow: policies as tasks, one after the other, in processes, or on a cluster; always the same figures."""

import json
import warnings
from pathlib import Path

import pytest

from tests import streams
from tests.story import PLAIN

POLICIES = ["frozen", "every 1 week, no gate"]


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """Seven weeks of a stream, and what to compare on it."""
    return streams.write(tmp_path_factory.mktemp("replayed"), streams.Stream(days=7 * 7).frame(), PLAIN)


@pytest.fixture(scope="module")
def cluster():
    """The address of a Dask scheduler with a worker in a process of its own."""
    distributed = pytest.importorskip("distributed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Dask's own
        here = distributed.LocalCluster(1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None)
    with here:
        yield here.scheduler_address


def told(monkeypatch, configs, home, workers=1, **settings):
    """The figures that a replay comes to."""
    from flows.replay import replay

    for name, value in {"TRUEUP_HOME": home, "TRUEUP_CONFIGS": configs, **settings}.items():
        monkeypatch.setenv(name, str(value))
    page = Path(replay("toy", policies=POLICIES, workers=workers))
    assert page.is_relative_to(home)
    facts = json.loads(page.with_suffix(".json").read_text())
    return {p["name"]: (p["log_loss"], p["promotions"], len(p["looks"])) for p in facts["policies"]}


@pytest.mark.thorough
def test_processes_and_a_cluster_come_to_what_one_after_the_other_comes_to(
    prefect_server,  # noqa: ARG001  (it only has to be there)
    configs,
    cluster,
    tmp_path,
    monkeypatch,
):
    from prefect.client.orchestration import get_client

    here = told(monkeypatch, configs, tmp_path / "here")
    assert here["every 1 week, no gate"][1] > 0
    assert (
        told(monkeypatch, configs, tmp_path / "here", workers=2) == here
    )  # they have lived; it is the processes that are tried
    assert told(monkeypatch, configs, tmp_path / "there", TRUEUP_DASK=cluster) == here
    with get_client(sync_client=True) as client:
        shown = [a.data for a in client.read_artifacts() if a.key == "replay-toy"]
    assert len(shown) == 3
    for text in shown:
        assert all(f"| {name} |" in text for name in POLICIES)
        assert "```yaml" in text


def test_where_no_cluster_answers_it_says_so(configs, tmp_path):
    from tests.free import free_port
    from trueup.adapters.dask.cluster import executor
    from trueup.errors import WorkError

    assert configs
    assert tmp_path
    with (
        pytest.raises(WorkError, match="no Dask scheduler answers at tcp://127"),
        executor(f"tcp://127.0.0.1:{free_port()}"),
    ):
        pass
