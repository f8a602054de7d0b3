"""The flow `fleet`: each model is a flow run of its own, with the limit of its deployment."""

import pytest

from tests import streams
from tests.story import PLAIN, stream
from trueup.adapters.background import NoReports
from trueup.orchestration.fleet.results import Fleet


@pytest.fixture
def configs(tmp_path, monkeypatch, prefect_server):  # noqa: ARG001
    """Two models with too little data to train on, and one without data."""
    configs = tmp_path / "configs"
    (configs / "data").mkdir(parents=True)
    stream(14, per_day=20).to_csv(configs / "data" / "stream.csv", index=False)
    for name in ("alpha", "beta", "gone"):
        text = PLAIN.replace("model: toy", f"model: {name}")
        (configs / f"{name}.yaml").write_text(text.replace("data/*", "gone/*") if name == "gone" else text)
    monkeypatch.setenv("TRUEUP_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TRUEUP_CONFIGS", str(configs))
    monkeypatch.setenv("TRUEUP_REPORTS", "false")
    monkeypatch.setattr("trueup.home.shared", NoReports)
    return configs


def outcomes(done: Fleet) -> dict[str, str]:
    return {turn.model: turn.outcome for turn in done.models}


def children(name: str) -> dict[str, str]:
    """The newest flow runs of the turns, by model, with their states."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowFilter
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(
            flow_filter=FlowFilter.model_validate({"name": {"any_": [name]}}), sort=FlowRunSort.EXPECTED_START_TIME_DESC
        )
    assert all(run.parent_task_run_id is not None for run in found)
    return {run.parameters["model"]: run.state.name for run in reversed(found)}


def test_each_model_is_a_flow_run_and_a_taken_slot_of_its_deployment_makes_it_busy(configs):  # noqa: ARG001
    from prefect.client.orchestration import get_client
    from prefect.concurrency.sync import concurrency

    from flows.fleet import fleet
    from flows.run import run

    first = fleet(as_of=streams.week(2))
    assert outcomes(first) == {"alpha": "held", "beta": "held", "gone": "failed"}
    assert "gone" in next(turn.message for turn in first.models if turn.model == "gone")
    assert first.exit_code == 1
    assert children("turn") == {"alpha": "Completed", "beta": "Completed", "gone": "Failed"}
    with get_client(sync_client=True) as client:
        made = client.create_deployment(client.create_flow(run), "alpha", concurrency_limit=1)
        limit = client.read_deployment(made).global_concurrency_limit.name
    with concurrency(limit):
        assert outcomes(fleet(as_of=streams.week(2))) == {"alpha": "busy", "beta": "nothing_new", "gone": "failed"}
    assert children("turn")["alpha"] == "Busy"
    assert outcomes(fleet(as_of=streams.week(2)))["alpha"] == "nothing_new"


@pytest.mark.thorough
def test_with_several_workers_they_are_still_children_of_the_fleet(configs):  # noqa: ARG001
    from flows.fleet import fleet

    assert outcomes(fleet(as_of=streams.week(2), workers=2)) == {"alpha": "held", "beta": "held", "gone": "failed"}
    assert children("turn") == {"alpha": "Completed", "beta": "Completed", "gone": "Failed"}
