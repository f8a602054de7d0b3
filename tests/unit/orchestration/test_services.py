"""What the stack of a home is made of."""

import pytest

from trueup.config.settings import Settings
from trueup.errors import ConfigError
from trueup.orchestration.stack.services import Layout


def layout(tmp_path, **settings):
    return Layout(Settings(**{"home": tmp_path / "home", "configs": tmp_path, **settings}), tmp_path)


def test_servers_can_be_left_out(tmp_path):
    less = layout(tmp_path, without="mlflow, evidently")
    assert less.programs == ["prefect", "reports", "ui", "worker"]
    assert set(less.ports) == {"prefect", "reports", "ui"}
    assert less.has_mlflow  # its database is made all the same
    assert set(less.addresses) == {"PREFECT_API_URL", "TRUEUP_REPORTS_PAGES"}


def test_the_models_server_is_started_when_a_config_wants_it(tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text("model: toy\nserve: {}\n")
    made = layout(tmp_path)
    assert made.command("serve")[0][1:4] == ["-m", "trueup", "serve"]
    assert "serve" not in layout(tmp_path, without="serve").programs
    config.write_text("model: toy\n")
    assert "serve" not in layout(tmp_path).programs


def test_what_the_flows_need_cannot_be_left_out(tmp_path):
    with pytest.raises(
        ConfigError, match="TRUEUP_WITHOUT: worker cannot be left out; evidently, mlflow, reports, serve, ui can"
    ):
        layout(tmp_path, without="worker,mlflow")


def test_mlflow_somewhere_else_is_not_started_and_linked_to(tmp_path):
    there = layout(tmp_path, mlflow_uri="https://mlflow.example")
    assert "mlflow" not in there.programs
    assert there.addresses["TRUEUP_MLFLOW_PAGES"] == "https://mlflow.example"


def test_all_mistakes_of_the_environment_are_said_at_once(monkeypatch):
    monkeypatch.setenv("TRUEUP_PREFECT_PORT", "many")
    monkeypatch.setenv("TRUEUP_MLFLOW_PORT", "70000")
    with pytest.raises(ConfigError, match=r"(?s)TRUEUP_PREFECT_PORT.*TRUEUP_MLFLOW_PORT"):
        Settings()
